// @ts-check

/**
 * What the server has: the list, page by page and filtered, and each photo under way until its end.
 *
 * @import { Photo } from './photos.js'
 */

import { change, isRecord, isUnderWay, photoOf, photos, renderCard, renderSummary, update } from './photos.js'
import { clearFilters, filterQuery, isFiltered, renderFilters } from './search.js'
import { ask, askUntilAnswered, BASE, imageUrl, lost, outage } from './server.js'
import { backoff, byId, lane, setText, sleep } from './tools.js'
import { announce, explain } from './words.js'

/* Following */

/** See UPLOADS. */
const POLLS = 2
/** Seconds that a poll may wait on the server. Short ones first, so that "queued" turns into "processing". */
const WAITS = [1, 2, 5, 10]

/** @param {Photo} photo */
export async function look(photo) {
  await outage
  if (photos.get(photo.key) !== photo) return
  const started = performance.now()
  const longest = WAITS[Math.min(photo.polls++, WAITS.length - 1)] ?? 10
  // Where others stand in line, a slow photo must not hold them up.
  const wait = polls.isEmpty() ? longest : Math.min(longest, 2)
  const answer = await ask(`${imageUrl(photo.key)}?wait=${wait}`, { seconds: wait + 15 })
  if (photos.get(photo.key) !== photo) return
  if (!answer) {
    if (await lost()) lookLater(photo, 0)
    else lookLater(photo, backoff(photo.trouble++))
  } else if (answer.status === 200 && isRecord(answer.body)) {
    photo.trouble = 0
    update(photo, answer.body)
    if (!isUnderWay(photo)) return
    // The time that the answer took counts: a poll that waited is not made to wait twice.
    lookLater(photo, (answer.retryAfter ?? 1) - (performance.now() - started) / 1000)
  } else if (answer.status === 429 || answer.status >= 500) {
    lookLater(photo, Math.min(60, Math.max(answer.retryAfter ?? 0, backoff(photo.trouble++))))
  } else if (answer.status === 404) {
    const problem = { ...explain(answer), again: photo.file !== undefined }
    change(photo, { phase: 'gone', problem, note: undefined })
  } else {
    change(photo, { phase: 'rejected', problem: explain(answer), note: undefined })
  }
}

export const polls = lane(POLLS, look)

/** @param {Photo} photo @param {number} seconds */
async function lookLater(photo, seconds) {
  await sleep(Math.max(0, seconds))
  polls.add(photo)
}

/** Has the server analyse a failed photo again. @param {Photo} photo */
export async function retry(photo) {
  change(photo, { phase: 'pending', problem: undefined, polls: 0 })
  const answer = await ask(imageUrl(photo.key, '/retry'), { method: 'POST' })
  // 409: somebody else was faster. The record says how it stands, whatever the answer was.
  if (!answer || (answer.status !== 202 && answer.status !== 409)) {
    announce(`${photo.name} could not be tried again.${answer ? ` ${explain(answer).what}` : ''}`)
  }
  polls.add(photo)
}

/* The list */

const PAGE = '24'

/** @type {string | undefined} */
let cursor
let isComplete = false
let listProblem = 'Loading earlier photos…'
/** Of the filters: an answer to those of before is dropped. */
let generation = 0
let isLoading = false

export const hasMore = () => !isComplete

/** So that what is added is seen. */
export function showAll() {
  if (clearFilters()) reloadList()
}

/** Begins the list anew. What is not on the server yet goes on, and stays where nothing is filtered. */
export function reloadList() {
  generation += 1
  cursor = undefined
  isComplete = false
  isLoading = false
  renderFilters()
  const local = isFiltered() ? [] : [...photos.values()].filter(({ file, phase }) => file && phase !== 'gone')
  byId('photos', HTMLUListElement).replaceChildren(...local.reverse().map(({ card }) => card.element))
  listProblem = 'Searching…'
  loadList()
}

export async function loadList() {
  if (isLoading || isComplete) return
  isLoading = true
  const mine = generation
  const filtered = isFiltered()
  const older = byId('older', HTMLButtonElement)
  const query = filterQuery()
  query.set('limit', PAGE)
  if (cursor) query.set('cursor', cursor)
  const answer = await askUntilAnswered(`${BASE}images?${query}`)
  if (mine !== generation) return
  isLoading = false
  const body = Object(answer.body)
  if (!Array.isArray(body.items)) {
    listProblem = `The photos cannot be shown. ${explain(answer).said}`
    isComplete = true // until the button is pressed
    older.hidden = false
    older.textContent = 'Try again'
    return renderSummary()
  }
  listProblem = ''
  older.textContent = 'Show older photos'
  cursor = body.cursor
  isComplete = !cursor
  older.hidden = isComplete
  const list = byId('photos', HTMLUListElement)
  for (const record of body.items) {
    if (!isRecord(record)) continue
    const known = photos.get(record.imageId)
    // A new photo of this page has its place already.
    if (known?.card.element.isConnected) continue
    if (known) {
      list.append(known.card.element)
      continue
    }
    const photo = photoOf(record)
    renderCard(photo)
    list.append(photo.card.element)
    if (isUnderWay(photo)) polls.add(photo)
  }
  if (filtered && list.childElementCount === body.items.length) {
    announce(
      body.items.length === 0 ? NOTHING : `${body.items.length}${cursor ? ' or more' : ''} photos found.`,
    )
  }
  renderSummary()
  // The button may be in sight still, and then nothing would cross its border.
  if (cursor && older.getBoundingClientRect().top < innerHeight + AHEAD) loadList()
}

const NOTHING = 'No photo fits. Try another label or a part of a file name, or clear the filters.'

/** Pixels below the window in which the next page is already asked for. */
const AHEAD = 600

/** The next page comes when the button is about to be seen; the button stays for the keyboard. */
export function loadAsItScrolls() {
  const older = byId('older', HTMLButtonElement)
  new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && loadList(), {
    rootMargin: `${AHEAD}px`,
  }).observe(older)
  older.onclick = async () => {
    const last = byId('photos', HTMLUListElement).lastElementChild
    if (!cursor) isComplete = false
    await loadList()
    // The button has gone down, and what it brought begins here.
    last?.nextElementSibling?.querySelector('button')?.focus()
  }
}

/** @param {number} count of the cards */
export function renderEmpty(count) {
  const empty = byId('empty', HTMLElement)
  // The way in is large while there is nothing else.
  document.body.classList.toggle('welcome', count === 0 && !listProblem && !isFiltered())
  empty.hidden = count > 0 && (!listProblem || listProblem === 'Searching…')
  setText(empty, listProblem || (isFiltered() ? NOTHING : 'The photos you add appear here.'))
}
