// @ts-check

/**
 * The way of a file to the server: in a request of its own, or if it is too large for one, by a form to the bucket.
 *
 * @import { Photo, Problem } from './store.js'
 * @import { Answer } from './server.js'
 */

import { FORMAT_BYTES, formatOf } from '../packages/image-guard/format.ts'
import { ask, BASE, lost, newIdempotencyKey, outage, post } from './server.js'
import {
  change,
  clearFilters,
  listFirst,
  newPhoto,
  photos,
  place,
  remove,
  rename,
  settings,
} from './store.js'
import { backoff, byId, counted, lane, sleep } from './tools.js'
import { announce, explain, note } from './words.js'

// A browser opens six connections per host over HTTP/1.1. Three uploads leave three for thumbnails and for all that is
// asked.
const UPLOADS = 3

/** The most bytes that POST /images takes. */
const MAX_IMAGE_BYTES = Number(document.querySelector('meta[name=max-image-bytes]')?.getAttribute('content'))

/** Whether the API takes HEIC; it says so by the types that the page may offer. */
const TAKES_HEIC = byId('files', HTMLInputElement).accept.includes('image/heic')

/** Seconds after which it is not worth a wait: then the limit is one of the day. */
const PATIENCE = 120

/** @param {File} file */
const isPicture = ({ name, type }) =>
  /^image\/(jpeg|png|webp|gif|avif)$/.test(type) ||
  /\.(jpe?g|png|webp|gif|avif)$/i.test(name) ||
  (TAKES_HEIC && (/^image\/hei[cf]$/.test(type) || /\.hei[cf]$/i.test(name)))

/**
 * The files of a folder: what is no picture in it is left out and counted; hidden files are not even that.
 *
 * @param {Iterable<File>} files
 */
export function addFolder(files) {
  const all = [...files].filter(({ name }) => !name.startsWith('.'))
  const pictures = all.filter(isPicture)
  const left = all.length - pictures.length
  addFiles(pictures)
  const skipped = left > 0 ? `${counted(left, 'other file')} skipped.` : ''
  note(pictures.length === 0 ? `No photo in this folder. ${skipped}` : skipped)
}

/** @param {Iterable<File>} files @param {string[]} [analyses] other ones than are chosen */
export function addFiles(files, analyses) {
  const added = []
  note('')
  for (const file of files) {
    const key = newIdempotencyKey()
    const preview = URL.createObjectURL(file)
    const name = file.name || 'Pasted picture'
    const idempotencyKey = key
    added.push(newPhoto({ key, name, phase: 'waiting', file, preview, idempotencyKey }))
  }
  if (added.length === 0) return
  for (const photo of added) photo.analyses = analyses ?? settings.analyses
  listFirst(added)
  clearFilters()
  // The last one first: the list has the newest first, and so they keep their order after a reload.
  for (const photo of added.toReversed()) uploads.add(photo)
  announce(`${counted(added.length, 'photo')} added.`)
}

/** Every file of a dropped folder, and of the folders in it. @param {FileSystemEntry} entry @returns {Promise<File[]>} */
async function filesOf(entry) {
  if (entry.isFile) {
    const one = /** @type {FileSystemFileEntry} */ (entry)
    return new Promise((done) =>
      one.file(
        (file) => done([file]),
        () => done([]),
      ),
    )
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader()
  const files = []
  for (;;) {
    // A hundred at a time, and nothing at the end (File and Directory Entries API, readEntries).
    /** @type {FileSystemEntry[]} */
    const entries = await new Promise((done) => reader.readEntries(done, () => done([])))
    if (entries.length === 0) return files
    for (const each of entries) files.push(...(await filesOf(each)))
  }
}

/** @param {DataTransfer} transfer good only until the event that brought it is over */
export async function addDropped(transfer) {
  const entries = [...transfer.items].flatMap((item) => item.webkitGetAsEntry() ?? [])
  if (!entries.some((entry) => entry.isDirectory)) return addFiles(transfer.files)
  const files = await Promise.all(entries.map(filesOf))
  addFolder(files.flat())
}

const uploads = lane(UPLOADS, async (photo) => {
  const { file, idempotencyKey } = photo
  if (!file || !idempotencyKey) return
  /** @param {Problem} problem */
  const reject = (problem) => change(photo, { phase: 'rejected', problem, note: undefined })
  let broken = 0
  let refused = 0
  let isLarge = file.size > MAX_IMAGE_BYTES
  for (;;) {
    if (outage) {
      change(photo, { phase: 'waiting', note: 'Waiting for the server' })
      await outage
    }
    if (!photos.has(photo.key)) return // dismissed
    const content = await contentOf(file)
    if ('what' in content) return reject(content)
    change(photo, { phase: 'uploading', sent: 0, note: undefined, problem: undefined })
    /** @param {number} sent */
    const onProgress = (sent) => change(photo, { sent })
    const send = isLarge ? sendToBucket : sendToApi
    const answer = await send(photo, file, content.type, idempotencyKey, onProgress)
    if (!answer) {
      // A server may also break off a body that it finds too large; so not for ever.
      change(photo, { phase: 'waiting', note: 'Waiting for the server' })
      const wasGone = await lost()
      broken = wasGone ? 0 : broken + 1
      if (broken === 3) {
        return reject({
          what: 'The connection broke off three times while sending.',
          todo: 'The network may be unsteady, or the file too large for this server.',
          again: true,
        })
      }
      if (!wasGone) await sleep(backoff(broken))
      continue
    }
    if (answer.status === 202) return accepted(photo, String(Object(answer.body).imageId))
    if (answer.status === 413 && !isLarge) {
      isLarge = true // something in front of the API takes less
      continue
    }
    const problem = explain(answer)
    if (problem.code === 'IMAGE_NOT_FOUND') {
      // An attempt before did arrive, and its photo has been deleted since.
      return change(photo, { phase: 'gone', problem: { ...problem, again: true }, note: undefined })
    }
    if (!problem.again || (answer.retryAfter ?? 0) > PATIENCE || ++refused > 5) return reject(problem)
    const seconds = Math.ceil(Math.max(answer.retryAfter ?? 0, backoff(refused - 1)))
    change(photo, { phase: 'waiting', note: `Server busy, next try in ${seconds} s` })
    await sleep(seconds)
  }
})

/** @typedef {(photo: Photo, file: File, type: string, key: string, onProgress: (percent: number) => void) => Promise<Answer | undefined>} Send */

/** The key is the same for each attempt: a lost answer does not make a second image. @type {Send} */
function sendToApi({ analyses }, file, contentType, key, onProgress) {
  // URLSearchParams mends lone surrogates, on which encodeURIComponent throws; %20 is a space to every parser.
  const query = new URLSearchParams({ filename: file.name, ...(analyses && { analyses: analyses.join() }) })
    .toString()
    .replaceAll('+', '%20')
  // Any other type could make the server read the body as a form or as JSON. It goes by the bytes anyway.
  const type = contentType.startsWith('image/') ? contentType : 'application/octet-stream'
  const headers = { 'content-type': type, 'idempotency-key': key }
  return post(`${BASE}images?${query}`, file, headers, onProgress)
}

/** Answers as POST /images does. @type {Send} */
async function sendToBucket({ analyses }, file, contentType, key, onProgress) {
  const announced = await ask(`${BASE}uploads`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': key },
    body: JSON.stringify({
      contentType,
      bytes: file.size,
      filename: file.name.toWellFormed(),
      analyses,
    }),
  })
  const { imageId, status, upload } = Object(announced?.body)
  if (announced?.status !== 201) return announced
  const accepted = { status: 202, retryAfter: undefined, body: { imageId } }
  // The attempt before did arrive, and only its answer was lost.
  if (status !== 'awaiting_upload') return accepted
  const form = new FormData()
  for (const [name, value] of Object.entries(upload.fields)) form.append(name, String(value))
  form.append('file', file)
  const stored = await post(upload.url, form, {}, onProgress)
  return stored && stored.status < 300 ? accepted : stored
}

/**
 * The type of a file by its first bytes, as the API sees it: a system may not know a type, or by another name. What has no
 * name here is for the API to refuse.
 *
 * @param {File} file
 * @returns {Promise<{ type: string } | Problem>} why it is not sent
 */
async function contentOf(file) {
  const start = await startOf(file)
  if (!start)
    return {
      what: 'The browser cannot read this file any more.',
      todo: 'It was moved, changed or is a folder. Choose it again.',
    }
  const { name, todo, contentType } = formatOf(start, TAKES_HEIC) ?? {}
  if (todo) return { what: `This is ${name}.`, todo, code: 'UNSUPPORTED_FORMAT' }
  return { type: contentType ?? (file.type || 'application/octet-stream') }
}

/** The first bytes of a file, or nothing where it cannot be read. @param {File} file */
async function startOf(file) {
  try {
    return new Uint8Array(await file.slice(0, FORMAT_BYTES).arrayBuffer())
  } catch {
    return undefined
  }
}

/** @param {Photo} photo @param {string} imageId */
function accepted(photo, imageId) {
  const twin = photos.get(imageId)
  if (twin && twin !== photo) remove(twin) // the list was faster than the receipt
  rename(photo, imageId)
  change(photo, { phase: 'pending' })
  place(photo)
}

/** @param {Photo} photo */
export function sendAgain(photo) {
  // The same key, in case that the last attempt arrived after all. A deleted image needs a new one.
  const key = (photo.phase !== 'gone' && photo.idempotencyKey) || newIdempotencyKey()
  rename(photo, key)
  change(photo, { idempotencyKey: key, phase: 'waiting', problem: undefined, record: undefined })
  uploads.add(photo)
}
