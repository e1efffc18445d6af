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
    added.push(
      newPhoto({
        key,
        idempotencyKey: key,
        name: file.name || 'Pasted picture',
        phase: 'waiting',
        file,
        preview: URL.createObjectURL(file),
        analyses,
      }),
    )
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
  const tries = { file, key, isLarge: file.size > MAX_IMAGE_BYTES, broken: 0, refused: 0 }
  for (let again = /** @type {boolean | void} */ (true); again; again = await attempt(photo, tries)) {
    if (outage) {
      awaitServer(photo)
      await outage
    }
  }
})

/**
 * Sends a photo once, and waits where it is to be sent again.
 *
 * @param {Photo} photo
 * @param {{ file: File, key: string, isLarge: boolean, broken: number, refused: number }} tries whether the file is too large
 *   for the API or what stands in front of it; how often in a row the connection broke off; and how many answers were refusals
 * @returns {Promise<boolean | void>} whether it is to be sent again
 */
async function attempt(photo, tries) {
  const { file, isLarge } = tries
  if (!photos.has(photo.key)) return // dismissed
  const content = await contentOf(file)
  if ('what' in content) return end(photo, content)
  change(photo, { phase: 'uploading', sent: 0, note: undefined, problem: undefined })
  const send = isLarge ? sendToBucket : sendToApi
  const answer = await send(photo, file, content.type, tries.key, (sent) => change(photo, { sent }))
  if (!answer) {
    awaitServer(photo)
    tries.broken = (await lost()) ? 0 : tries.broken + 1
    // A server may also break off a body that it finds too large; so not for ever.
    if (tries.broken === 3)
      return end(photo, {
        what: 'The connection broke off three times while sending.',
        todo: 'The network may be unsteady, or the file too large for this server.',
        again: true,
      })
    if (tries.broken) await sleep(backoff(tries.broken))
  } else if (answer.status === 202) return accepted(photo, String(Object(answer.body).imageId))
  else if (answer.status === 413 && !isLarge) tries.isLarge = true
  else return waitAfter(photo, answer, ++tries.refused)
  return true
}

/** @param {Photo} photo */
const awaitServer = (photo) => change(photo, { phase: 'waiting', note: 'Waiting for the server' })

/** No more of it is sent. @param {Photo} photo @param {Problem} problem @param {'rejected' | 'gone'} [phase] */
const end = (photo, problem, phase = 'rejected') => change(photo, { phase, problem, note: undefined })

/**
 * Waits where it is to be sent again, or ends a photo that was refused.
 *
 * @param {Photo} photo
 * @param {Answer} answer
 * @param {number} refused how many answers of the photo were refusals, with this one
 * @returns {Promise<boolean | void>} whether it is to be sent again
 */
async function waitAfter(photo, answer, refused) {
  const problem = explain(answer)
  const { retryAfter = 0 } = answer
  // An attempt before did arrive, and its photo has been deleted since.
  if (problem.code === 'IMAGE_NOT_FOUND') return end(photo, { ...problem, again: true }, 'gone')
  if (!problem.again || retryAfter > PATIENCE || refused > 5) return end(photo, problem)
  const seconds = Math.ceil(Math.max(retryAfter, backoff(refused - 1)))
  change(photo, { phase: 'waiting', note: `Server busy, next try in ${seconds} s` })
  await sleep(seconds)
  return true
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
  return post(`${BASE}images?${query}`, file, { 'content-type': type, 'idempotency-key': key }, onProgress)
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
  const arrived = { status: 202, body: { imageId } }
  // The attempt before did arrive, and only its answer was lost.
  if (status !== 'awaiting_upload') return arrived
  const form = new FormData()
  for (const [name, value] of Object.entries(upload.fields)) form.append(name, String(value))
  form.append('file', file)
  const stored = await post(upload.url, form, {}, onProgress)
  return stored && stored.status < 300 ? arrived : stored
}

/**
 * The type of a file by its first bytes, as the API sees it: a system may not know a type, or by another name. What has no
 * name here is for the API to refuse.
 *
 * @param {File} file
 * @returns {Promise<{ type: string } | Problem>} why it is not sent
 */
async function contentOf(file) {
  const start = await file
    .slice(0, FORMAT_BYTES)
    .arrayBuffer()
    .catch(() => undefined)
  if (!start)
    return {
      what: 'The browser cannot read this file any more.',
      todo: 'It was moved, changed or is a folder. Choose it again.',
    }
  const { name, todo, contentType } = formatOf(new Uint8Array(start), TAKES_HEIC) ?? {}
  if (todo) return { what: `This is ${name}.`, todo, code: 'UNSUPPORTED_FORMAT' }
  return { type: contentType ?? (file.type || 'application/octet-stream') }
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
