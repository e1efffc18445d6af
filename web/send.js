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
export function addFiles(files, analyses = settings.analyses) {
  const added = []
  note('')
  for (const file of files) {
    const key = newIdempotencyKey()
    const preview = URL.createObjectURL(file)
    const name = file.name || 'Pasted picture'
    added.push(newPhoto({ key, name, phase: 'waiting', file, preview, idempotencyKey: key, analyses }))
  }
  if (added.length === 0) return
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
  const { file, idempotencyKey: key } = photo
  if (!file || !key) return
  let broken = 0
  let refused = 0
  // Or larger than what stands in front of the API takes, which is known by its answer.
  let isLarge = file.size > MAX_IMAGE_BYTES
  for (;;) {
    if (outage) {
      awaitServer(photo)
      await outage
    }
    if (!photos.has(photo.key)) return // dismissed
    const content = await contentOf(file)
    if ('what' in content) return end(photo, content)
    change(photo, { phase: 'uploading', sent: 0, note: undefined, problem: undefined })
    const send = isLarge ? sendToBucket : sendToApi
    const answer = await send(photo, file, content.type, key, (sent) => change(photo, { sent }))
    if (!answer) {
      awaitServer(photo)
      broken = (await lost()) ? 0 : broken + 1
      // A server may also break off a body that it finds too large; so not for ever.
      if (broken === 3) return end(photo, BROKEN)
      if (broken) await sleep(backoff(broken))
    } else if (answer.status === 202) return accepted(photo, String(Object(answer.body).imageId))
    else if (answer.status === 413 && !isLarge) isLarge = true
    else {
      const seconds = pauseAfter(photo, answer, ++refused)
      if (!seconds) return
      await sleep(seconds)
    }
  }
})

/** @type {Problem} */
const BROKEN = {
  what: 'The connection broke off three times while sending.',
  todo: 'The network may be unsteady, or the file too large for this server.',
  again: true,
}

/** @param {Photo} photo */
const awaitServer = (photo) => change(photo, { phase: 'waiting', note: 'Waiting for the server' })

/** No more of it is sent. @param {Photo} photo @param {Problem} problem @param {'rejected' | 'gone'} [phase] */
const end = (photo, problem, phase = 'rejected') => change(photo, { phase, problem, note: undefined })

/**
 * Ends a photo that was refused, or says why it waits.
 *
 * @param {Photo} photo
 * @param {Answer} answer
 * @param {number} refused how many answers of the photo were refusals, with this one
 * @returns {number | void} seconds to the next attempt; nothing where there is none
 */
function pauseAfter(photo, answer, refused) {
  const problem = explain(answer)
  const { retryAfter = 0 } = answer
  // An attempt before did arrive, and its photo has been deleted since.
  if (problem.code === 'IMAGE_NOT_FOUND') return end(photo, { ...problem, again: true }, 'gone')
  if (!problem.again || retryAfter > PATIENCE || refused > 5) return end(photo, problem)
  const seconds = Math.ceil(Math.max(retryAfter, backoff(refused - 1)))
  change(photo, { phase: 'waiting', note: `Server busy, next try in ${seconds} s` })
  return seconds
}

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
