// @ts-check

/**
 * The photos that the page knows of, and their cards.
 *
 * @import { CompletedImage, Failure, Status } from '../shared/image.ts'
 *
 * @typedef {Partial<Omit<CompletedImage, 'imageId' | 'status'>> &
 *   { imageId: string, status: Status, failure?: Failure }} ImageRecord
 *   what the API shows of an image, in whatever state; a list leaves the results of Rekognition out
 *
 * @typedef {Status | 'waiting' | 'uploading' | 'rejected' | 'gone'} Phase
 *   the record's status, and what comes before and beside it: not sent yet, being sent, refused, deleted
 *
 * @typedef {{ what: string, todo: string, code?: string, said?: string, again?: boolean }} Problem
 *   what is wrong, what to do, the server's code and own words, and whether sending again can help
 *
 * @typedef {object} Photo
 * @property {string} key the imageId, once there is one
 * @property {string} name
 * @property {Phase} phase
 * @property {Card} card
 * @property {File} [file] of a photo that was added on this page
 * @property {string} [preview] its blob URL
 * @property {number} sent per cent
 * @property {number} polls how often it was asked for
 * @property {number} trouble how many of these went wrong in a row
 * @property {string} [idempotencyKey]
 * @property {string[] | undefined} [analyses] other ones than the server's own choice
 * @property {string | undefined} [note] why it is not going on just now
 * @property {Problem | undefined} [problem]
 * @property {ImageRecord | undefined} [record]
 */

import { confirmDelete, leaveDetail, openDetail, renderDetail } from './detail.js'
import { hasMore, renderEmpty, retry } from './list.js'
import { searchLabel } from './search.js'
import { renderSelection } from './selection.js'
import { sendAgain } from './send.js'
import { pictureUrl, token } from './server.js'
import { byId, counted, h, number, setText } from './tools.js'
import { announce, explainFailure, noticeElement, noticeFor, statusText } from './words.js'

/** In no particular order: the order is that of the cards in the page. @type {Map<string, Photo>} */
export const photos = new Map()
/** @type {WeakMap<Element, Photo>} */
export const byCard = new WeakMap()

/** Milliseconds for which a form of POST /uploads is good, after which no file comes any more. */
const FORM_MS = 900_000

/** @param {Photo} photo */
export const isUnderWay = ({ phase, record }) =>
  ['waiting', 'uploading', 'pending', 'processing'].includes(phase) ||
  (phase === 'awaiting_upload' && Date.now() - Date.parse(record?.createdAt ?? '') < FORM_MS)

/** @param {{ key: string, name: string, phase: Phase, file?: File, preview?: string, record?: ImageRecord }} start */
export function newPhoto(start) {
  /** @type {Photo} */
  const photo = { ...start, card: newCard(), sent: 0, polls: 0, trouble: 0 }
  photo.card.open.onclick = () => openDetail(photo)
  photo.card.trash.onclick = () => confirmDelete(photo)
  photo.card.select.onchange = renderSummary
  photos.set(photo.key, photo)
  byCard.set(photo.card.element, photo)
  return photo
}

/** A photo that is on the server. @param {ImageRecord} record */
export function photoOf(record) {
  const name = record.original?.filename || `Photo ${record.imageId.slice(-6)}`
  const photo = newPhoto({ key: record.imageId, name, phase: record.status, record })
  if (record.failure) photo.problem = explainFailure(record.failure)
  return photo
}

/** The one way in which a photo changes. @param {Photo} photo @param {Partial<Photo>} patch */
export function change(photo, patch) {
  const before = photo.phase
  Object.assign(photo, patch)
  renderCard(photo)
  renderDetail(photo)
  renderSummary()
  if (photo.phase === before) return
  if (photo.phase === 'completed') announce(`${photo.name}: completed.`)
  if (photo.problem) announce(`${photo.name}: ${statusText(photo)}. ${photo.problem.what}`)
}

/** @param {Photo} photo @param {ImageRecord} record */
export function update(photo, record) {
  change(photo, {
    record,
    phase: record.status,
    name: record.original?.filename || photo.name,
    note: undefined,
    problem: record.failure && explainFailure(record.failure),
  })
}

/** @param {Photo} photo */
export function remove(photo) {
  photos.delete(photo.key)
  if (photo.preview) URL.revokeObjectURL(photo.preview)
  const { element } = photo.card
  const near = element.nextElementSibling ?? element.previousElementSibling
  // Focus must not fall back to the top of the page.
  const heir =
    element.contains(document.activeElement) &&
    (near?.querySelector('button') ?? byId('files', HTMLInputElement))
  leaveDetail(photo)
  element.remove()
  if (heir) heir.focus()
  renderSummary()
}

/** @param {unknown} body @returns {body is ImageRecord} */
export const isRecord = (body) => Boolean(Object(body).imageId)

/** @typedef {ReturnType<typeof newCard>} Card */

/** @param {'photo' | 'trash'} name of one that page.html has */
const icon = (name) => /** @type {Element} */ (document.querySelector(`#icon-${name} svg`)).cloneNode(true)

export function newCard() {
  const image = h('img', { alt: '', decoding: 'async', loading: 'lazy', hidden: true })
  const open = h('button', { type: 'button', className: 'open' })
  const status = h('p', { className: 'status' })
  const progress = h('progress', { max: 100, 'aria-label': 'Sent', hidden: true })
  const why = h('p', { className: 'why', hidden: true })
  const chips = h('ul', { className: 'chips', hidden: true, 'aria-label': 'Labels' })
  const actions = h('div', { className: 'actions', hidden: true })
  const select = h('input', { type: 'checkbox', className: 'select' })
  const trash = h('button', { type: 'button', className: 'round trash' }, icon('trash'))
  const facts = h('div', { className: 'facts' }, h('h3', {}, open), status, progress, why, chips, actions)
  const element = h(
    'li',
    { className: 'card' },
    h('div', { className: 'thumb' }, icon('photo'), image),
    facts,
    select,
    trash,
  )
  return { element, image, open, status, progress, why, chips, actions, select, trash }
}

/** @param {Photo} photo */
export function renderCard(photo) {
  const { card, phase, problem, record } = photo
  card.element.dataset['phase'] = phase
  setText(card.open, photo.name)
  card.open.title = photo.name
  setText(card.status, statusText(photo))
  card.progress.hidden = phase !== 'uploading'
  card.progress.value = photo.sent
  card.why.hidden = !problem
  setText(card.why, problem ? `${problem.what} ${problem.todo}` : '')
  card.trash.hidden = card.select.hidden = !isOnServer(photo)
  card.select.setAttribute('aria-label', `Select ${photo.name}`)
  card.trash.setAttribute('aria-label', `Delete ${photo.name}`)
  renderThumbnail(photo)

  const labels = record?.labels ?? record?.rekognitionLabels?.map((label) => label.Name) ?? []
  card.chips.hidden = labels.length === 0
  const chips = labels.slice(0, 6)
  // Those that are still right stay, with the focus that may be on one.
  if (chips.join('\n') !== card.chips.dataset['labels']) {
    card.chips.dataset['labels'] = chips.join('\n')
    card.chips.replaceChildren(...chips.map(chip))
  }

  const actions = actionsFor(photo, 'quiet small')
  card.actions.hidden = actions.length === 0
  // Buttons that are still right stay, with the focus that may be on them.
  if (actions.length !== card.actions.childElementCount) card.actions.replaceChildren(...actions)
}

/** @param {string} label */
function chip(label) {
  const button = h('button', { type: 'button', 'aria-label': `Show photos with ${label}` }, label)
  button.onclick = () => searchLabel(label)
  return h('li', {}, button)
}

/** @param {Photo} photo */
async function renderThumbnail({ card: { image }, key, phase, preview }) {
  const name = phase === 'completed' ? `thumbnail ${key}` : (preview ?? '')
  if (!name || image.dataset['source'] === name) return
  image.dataset['source'] = name
  const show = async () => {
    const source = phase === 'completed' ? await pictureUrl(key, '/thumbnail') : name
    if (image.dataset['source'] !== name) return
    image.src = source
    image.hidden = !source
  }
  image.onerror = () => {
    image.hidden = true
    // A URL that was asked for with a token is good for some minutes, and a card may be scrolled to after that.
    if (token && !image.dataset['again']) show()
    image.dataset['again'] = 'true'
  }
  image.onload = () => delete image.dataset['again']
  await show()
}

/** A verdict on the picture would be the same again. @param {Photo} photo */
export const canRetry = ({ phase, record }) => phase === 'failed' && record?.failure?.code === 'EXHAUSTED'

/** @param {Photo} photo */
export const isOnServer = ({ phase }) => !['waiting', 'uploading', 'rejected', 'gone'].includes(phase)

/** @param {Photo} photo @param {string} className */
export function actionsFor(photo, className) {
  const actions = []
  const { file } = photo
  if (file && photo.problem?.again) {
    const onclick = () => sendAgain(photo)
    actions.push(h('button', { type: 'button', className, onclick }, 'Send again'))
  }
  if (canRetry(photo)) {
    actions.push(h('button', { type: 'button', className, onclick: () => retry(photo) }, 'Try again'))
  }
  // A failed image is on the server's list and would be back after a reload.
  if (photo.phase === 'rejected' || photo.phase === 'gone') {
    actions.push(h('button', { type: 'button', className, onclick: () => remove(photo) }, 'Dismiss'))
  }
  return actions
}

/** The photos of the grid, in its order. */
export const listed = () =>
  [...byId('photos', HTMLUListElement).children].flatMap((element) => {
    const photo = byCard.get(element)
    return photo ? [photo] : []
  })

export function summaryText() {
  const all = listed()
  const underWay = all.filter(isUnderWay).length
  const troubled = all.filter(({ problem }) => problem).length
  return [
    `${counted(all.length, 'photo')}${hasMore() ? ' so far' : ''}`,
    underWay > 0 && `${number(underWay)} under way`,
    troubled > 0 && `${number(troubled)} with a problem`,
  ]
    .filter(Boolean)
    .join(' · ')
}

export let summaryDue = false
/** Once per frame, however many photos change. */
export function renderSummary() {
  if (summaryDue) return
  summaryDue = true
  requestAnimationFrame(() => {
    summaryDue = false
    const shown = listed()
    setText(byId('summary', HTMLElement), shown.length > 0 ? summaryText() : '')
    renderEmpty(shown.length)
    renderSelection()
    const notices = Map.groupBy(
      shown.flatMap(({ record }) => noticeFor(record) ?? []),
      ({ kind }) => kind,
    )
    const kinds = [...notices.keys()].join()
    const place = byId('notices', HTMLElement)
    if (place.dataset['kinds'] === kinds) return
    place.dataset['kinds'] = kinds
    place.replaceChildren(
      ...[...notices.values()].flatMap(([notice]) => (notice ? noticeElement(notice) : [])),
    )
  })
}
