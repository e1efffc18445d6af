// @ts-check

/** The list as the server has it, page by page and filtered, and what is said above and below it. */

import { askUntilAnswered, BASE } from './server.js'
import {
  changeList,
  emptyList,
  filterChanges,
  filters,
  isInWork,
  isRecord,
  isUnsent,
  list,
  listChanges,
  listed,
  listNext,
} from './store.js'
import { byId, counted, number, setText } from './tools.js'
import { announceList, explain, noticeElement, noticeFor } from './words.js'

const PAGE = '24'
/** Pixels below the window in which the next page is already asked for. */
const AHEAD = 600
const NOTHING = 'No photo matches. Try another label or a part of a file name, or clear the filters.'
const BACKWARDS = 'The first day is after the last day. Change one of them, or clear the filters.'
const SEARCHING = 'Searching…'

const older = byId('older', HTMLButtonElement)

/** @type {string | undefined} */
let cursor
/** Of the filters: an answer to those of before is dropped. */
let generation = 0
let isLoading = false
/** Whether the button is about to be seen. @type {IntersectionObserver | undefined} */
let watched

function reloadList() {
  generation += 1
  cursor = undefined
  isLoading = false
  list.isComplete = false
  list.notice = SEARCHING
  emptyList()
  loadList()
}

async function loadList() {
  if (isLoading || list.isComplete) return
  if ((filters.get('from') ?? '') > (filters.get('to') || '9')) return endList(BACKWARDS)
  isLoading = true
  const mine = generation
  const query = new URLSearchParams(filters)
  query.set('limit', PAGE)
  if (cursor) query.set('cursor', cursor)
  const isFirst = !cursor
  const answer = await askUntilAnswered(`${BASE}images?${query}`)
  if (mine !== generation) return
  isLoading = false
  const body = Object(answer.body)
  const items = Array.isArray(body.items) ? body.items.filter(isRecord) : undefined
  older.textContent = items ? 'Show older photos' : 'Try again'
  if (!items) {
    endList(`The photos cannot be shown. ${explain(answer).said}`)
    older.hidden = false
    return
  }
  list.isComplete = older.hidden = !body.cursor
  list.notice = ''
  cursor = body.cursor
  listNext(items)
  // The button may be in sight still, and then it would not cross the border of the window.
  watched?.unobserve(older)
  watched?.observe(older)
  if (filters.size > 0 && isFirst) {
    const found = cursor ? `${items.length} or more photos` : counted(items.length, 'photo')
    announceList(items.length === 0 ? NOTHING : `${found} found.`)
  }
}

/** Nothing more is asked for until the filters change or the button is pressed. @param {string} why */
function endList(why) {
  list.isComplete = older.hidden = true
  list.notice = why
  announceList(why)
  changeList()
}

/** What is said of the whole list. */
function renderSummary() {
  const underWay = listed.filter((photo) => isUnsent(photo) || isInWork(photo)).length
  const troubled = listed.filter(({ problem }) => problem).length
  const summary = [
    `${counted(listed.length, 'photo')}${list.isComplete ? '' : ' so far'}`,
    underWay > 0 && `${number(underWay)} under way`,
    troubled > 0 && `${number(troubled)} with a problem`,
  ]
  setText(byId('summary', HTMLElement), listed.length > 0 ? summary.filter(Boolean).join(' · ') : '')

  const isFiltered = filters.size > 0
  const empty = byId('empty', HTMLElement)
  // The way in is large while the list is empty.
  document.body.classList.toggle('welcome', listed.length === 0 && !list.notice && !isFiltered)
  empty.hidden = listed.length > 0 && (!list.notice || list.notice === SEARCHING)
  setText(empty, list.notice || (isFiltered ? NOTHING : 'The photos you add appear here.'))

  const notices = new Map()
  for (const notice of listed.map(({ record }) => noticeFor(record)))
    if (notice) notices.set(notice.kind, notice)
  const kinds = [...notices.keys()].join()
  const place = byId('notices', HTMLElement)
  if (place.dataset['kinds'] === kinds) return
  place.dataset['kinds'] = kinds
  place.replaceChildren(...[...notices.values()].map(noticeElement))
}

/** The next page comes when the button is about to be seen; the button stays for the keyboard. */
export function startList() {
  filterChanges.subscribe(reloadList)
  listChanges.subscribe(renderSummary)
  watched = new IntersectionObserver(
    (entries) => entries.some((entry) => entry.isIntersecting) && loadList(),
    { rootMargin: `${AHEAD}px` },
  )
  watched.observe(older)
  older.onclick = async () => {
    const count = listed.length
    list.isComplete = false
    await loadList()
    // The button has gone down, and what it brought begins here.
    requestAnimationFrame(() => document.querySelectorAll('.card')[count]?.querySelector('button')?.focus())
  }
  loadList()
}
