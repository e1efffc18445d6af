// @ts-check

/**
 * Several photos at once: deleted, tried again, or taken out as a file.
 *
 * @import { ImageRecord, Photo } from './store.js'
 */

import { retry } from './follow.js'
import { ask, imageUrl } from './server.js'
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
import { byId, counted, h, number, setText } from './tools.js'
import { announce, linesOf } from './words.js'

function renderSelection() {
  const all = selectedPhotos()
  byId('selection', HTMLElement).hidden = all.length === 0
  document.body.classList.toggle('selecting', all.length > 0)
  setText(byId('selected', HTMLElement), `${counted(all.length, 'photo')} selected`)
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

/** The whole records, as far as the server has them. @param {Photo[]} wanted @returns {Promise<ImageRecord[]>} */
async function recordsOf(wanted) {
  const records = []
  for (const [at, { key }] of wanted.entries()) {
    setText(byId('selected', HTMLElement), `Reading ${at + 1} of ${wanted.length}…`)
    const answer = await ask(imageUrl(key))
    if (answer?.status === 200 && isRecord(answer.body)) records.push(answer.body)
  }
  return records
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
  const records = await recordsOf(wanted)
  renderSelection()
  const rows = [COLUMNS, ...records.map(cellsOf)].map((cells) => `${cells.map(csvCell).join(',')}\r\n`)
  // By the mark a spreadsheet knows that it is UTF-8.
  const [type, text] =
    format === 'json'
      ? ['application/json', JSON.stringify(records, null, 2)]
      : ['text/csv', `\uFEFF${rows.join('')}`]
  const url = URL.createObjectURL(new Blob([text], { type }))
  h('a', { href: url, download: `photos.${format}` }).click()
  setTimeout(() => URL.revokeObjectURL(url), 60_000)
  const lost = wanted.length - records.length
  announce(`${counted(records.length, 'photo')} exported.${lost > 0 ? ` ${lost} could not be read.` : ''}`)
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
