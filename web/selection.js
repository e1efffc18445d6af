// @ts-check

/**
 * Several photos at once: deleted, tried again, or taken out as a file.
 *
 * @import { ImageRecord, Photo } from './store.js'
 */

import { retry } from './follow.js'
import { askUntilAnswered, imageUrl } from './server.js'
import {
  canRetry,
  deletions,
  isRecord,
  list,
  listChanges,
  select,
  selectable,
  selectedPhotos,
} from './store.js'
import { backoff, byId, counted, h, number, setText, sleep } from './tools.js'
import { linesOf } from './words.js'

/** @type {Export | undefined} */
let exporting
/** How the last export of these photos ended. */
let outcome = ''
let before = ''

const selection = byId('selection', HTMLElement)
const progress = byId('exporting', HTMLProgressElement)
const cancel = byId('export-cancel', HTMLButtonElement)

function renderSelection() {
  const all = selectedPhotos()
  const keys = all.map(({ key }) => key).join()
  if (keys !== before) outcome = ''
  before = keys
  selection.hidden = all.length === 0 && !exporting
  document.body.classList.toggle('selecting', !selection.hidden)
  // Not hidden for a moment, which would take the focus away.
  for (const button of selection.querySelectorAll('button'))
    button.hidden = (button === cancel) !== Boolean(exporting)
  progress.hidden = !exporting
  if (exporting) {
    // The bar says how far it is: a sentence for each photo would be read out.
    setText(byId('selected', HTMLElement), `Exporting ${counted(exporting.of, 'photo')}`)
    progress.max = exporting.of
    progress.value = exporting.done
    return
  }
  setText(
    byId('selected', HTMLElement),
    [`${counted(all.length, 'photo')} selected`, outcome].filter(Boolean).join(' · '),
  )
  const shown = selectable().length
  byId('selected-all', HTMLButtonElement).hidden = all.length === shown
  setText(
    byId('selected-all', HTMLButtonElement),
    list.isComplete ? 'Select all' : `Select all ${number(shown)} shown`,
  )
  byId('selected-retry', HTMLButtonElement).hidden = !all.some(canRetry)
}

function selectAll() {
  for (const photo of selectable()) select(photo, true)
  // This button goes away, and the focus must not.
  byId('selected-json', HTMLButtonElement).focus()
}

function unselect() {
  for (const photo of selectedPhotos()) select(photo, false)
}

/** A browser has six connections over HTTP/1.1, and an upload or a thumbnail may need some. */
const AT_ONCE = 3
const ATTEMPTS = 5

/** An export under way, which Cancel ends. @typedef {{ done: number, of: number, isCancelled: boolean }} Export */

/** The whole record, or nothing where there is none. @param {string} key @param {Export} mine @returns {Promise<ImageRecord | undefined>} */
async function recordOf(key, mine) {
  for (let attempt = 0; attempt < ATTEMPTS && !mine.isCancelled; attempt += 1) {
    const answer = await askUntilAnswered(imageUrl(key))
    if (answer.status === 200 && isRecord(answer.body)) return answer.body
    if (answer.status < 500 && answer.status !== 429) return undefined
    await sleep(Math.max(answer.retryAfter ?? 0, backoff(attempt)))
  }
  return undefined
}

/** The records in the order of the photos, some at a time, until it is cancelled. @param {Photo[]} wanted */
async function recordsOf(wanted) {
  const mine = { done: 0, of: wanted.length, isCancelled: false }
  exporting = mine
  renderSelection()
  /** @type {(ImageRecord | undefined)[]} */
  const records = []
  const cancelled = new Promise((resolve) => {
    cancel.onclick = () => {
      mine.isCancelled = true
      resolve(undefined)
    }
  })
  cancel.focus()
  let next = 0
  const read = async () => {
    for (let at = next++; at < wanted.length && !mine.isCancelled; at = next++) {
      records[at] = await recordOf(wanted[at]?.key ?? '', mine)
      mine.done += 1
      renderSelection()
    }
  }
  await Promise.race([cancelled, Promise.all(Array.from({ length: AT_ONCE }, read))])
  exporting = undefined
  return mine.isCancelled ? undefined : records.filter((record) => record !== undefined)
}

const COLUMNS = [
  ...['imageId', 'filename', 'status', 'createdAt', 'width', 'height', 'bytes'],
  ...['labels', 'faces', 'emotions', 'text', 'failure'],
]

/** @param {ImageRecord} record */
function cellsOf(record) {
  const { original, rekognitionLabels = [], rekognitionFaces = [], failure } = record
  const strongest = rekognitionFaces.flatMap(
    ({ Emotions = [] }) =>
      Emotions.toSorted((a, b) => (b.Confidence ?? 0) - (a.Confidence ?? 0))[0]?.Type ?? [],
  )
  return [
    ...[record.imageId, original?.filename, record.status, record.createdAt],
    ...[original?.width, original?.height, original?.bytes],
    rekognitionLabels.map(({ Name, Confidence }) => `${Name} ${Confidence.toFixed(1)}`).join('; '),
    ...[rekognitionFaces.length, strongest.join('; ')],
    ...[
      linesOf(record)
        .map(({ DetectedText }) => DetectedText)
        .join('; '),
      failure?.code,
    ],
  ]
}

/** RFC 4180; what a spreadsheet would take for a formula is text, also where it parts cells at semicolons. @param {unknown} value */
function csvCell(value) {
  const text = String(value ?? '').replace(/(^|[;\t])(?=\s*[=+\-@]|[\t\r])/g, "$1'")
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

/** @param {'json' | 'csv'} format */
async function exportAs(format) {
  const wanted = selectedPhotos()
  const hadFocus = document.activeElement
  const records = await recordsOf(wanted)
  const lost = wanted.length - (records?.length ?? 0)
  outcome = records
    ? `${number(records.length)} exported${lost > 0 ? `, ${number(lost)} could not be read` : ''}`
    : 'Export cancelled'
  renderSelection()
  if (hadFocus instanceof HTMLElement) hadFocus.focus()
  if (!records?.length) return
  const rows = [COLUMNS, ...records.map(cellsOf)].map((cells) => `${cells.map(csvCell).join(',')}\r\n`)
  // By the mark a spreadsheet knows that it is UTF-8.
  const [type, text] =
    format === 'json'
      ? ['application/json', JSON.stringify(records, null, 2)]
      : ['text/csv', `\uFEFF${rows.join('')}`]
  const url = URL.createObjectURL(new Blob([text], { type }))
  h('a', { href: url, download: `photos.${format}` }).click()
  setTimeout(() => URL.revokeObjectURL(url), 60_000)
}

export function startSelection() {
  listChanges.subscribe(renderSelection)
  byId('selected-json', HTMLButtonElement).onclick = () => exportAs('json')
  byId('selected-csv', HTMLButtonElement).onclick = () => exportAs('csv')
  byId('selected-all', HTMLButtonElement).onclick = selectAll
  byId('selected-none', HTMLButtonElement).onclick = unselect
  byId('selected-delete', HTMLButtonElement).onclick = () => deletions.publish(selectedPhotos())
  byId('selected-retry', HTMLButtonElement).onclick = () => {
    for (const photo of selectedPhotos().filter(canRetry)) retry(photo)
    unselect()
  }
}
