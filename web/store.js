// @ts-check

/**
 * The state of the page: the photos that it knows of, those of the list in their order, the one that is open, the filters
 * and the settings. It imports no view; views subscribe to it.
 *
 * @import { CompletedImage, Failure, ProcessingImage, Status } from '../shared/image.ts'
 *
 * @typedef {Partial<Omit<CompletedImage, 'imageId' | 'status'>> &
 *   { imageId: string, status: Status, failure?: Failure, waits?: ProcessingImage['waits'] }} ImageRecord
 *   what the API shows of an image, in any state; a list leaves the results of Rekognition out
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
 * @property {File} [file] of a photo that was added on this page
 * @property {string} [preview] its blob URL
 * @property {number} sent per cent
 * @property {boolean} selected
 * @property {number} added when it was, in milliseconds
 * @property {string} [idempotencyKey]
 * @property {string[] | undefined} [analyses] other ones than the server's own choice
 * @property {string | undefined} [note] why it is not going on just now
 * @property {Problem | undefined} [problem]
 * @property {ImageRecord | undefined} [record]
 */

import { announce, explainFailure, statusText } from './words.js'

/** @template {unknown[]} About */
function topic() {
  /** @type {((...about: About) => void)[]} */
  const views = []
  return {
    /** @param {(...about: About) => void} view */
    subscribe: (view) => {
      views.push(view)
    },
    /** @param {About} about */
    publish: (...about) => {
      for (const view of views) view(...about)
    },
  }
}

/** A photo has changed. @type {ReturnType<typeof topic<[photo: Photo]>>} */
export const photoChanges = topic()
/** The list or anything in it has changed; once per frame, however many photos change. @type {ReturnType<typeof topic<[]>>} */
export const listChanges = topic()
/** Another photo is open, or none. @type {ReturnType<typeof topic<[before: Photo | undefined]>>} */
export const openings = topic()
/** @type {ReturnType<typeof topic<[]>>} */
export const filterChanges = topic()
/** Photos are to be deleted, if the person agrees. @type {ReturnType<typeof topic<[doomed: Photo[]]>>} */
export const deletions = topic()

/* Photos */

/** All that the page knows of, by key. @type {Map<string, Photo>} */
export const photos = new Map()
/** Those of the list, in its order. @type {Photo[]} */
export let listed = []
/** @type {Photo | undefined} */
export let opened

/** Milliseconds for which a form of POST /uploads is good, after which no file comes any more. */
const FORM_MS = 900_000

/** @param {Photo} photo */
export const isOnServer = ({ phase }) => !['waiting', 'uploading', 'rejected', 'gone'].includes(phase)

/** Whether the server has something to do for it. @param {Photo} photo */
export const isInWork = ({ phase, record }) =>
  ['pending', 'processing'].includes(phase) ||
  (phase === 'awaiting_upload' && Date.now() - Date.parse(record?.createdAt ?? '') < FORM_MS)

/** @param {Photo} photo */
export const isUnsent = ({ phase }) => phase === 'waiting' || phase === 'uploading'

/** A verdict on the picture would be the same again. @param {Photo} photo */
export const canRetry = ({ phase, record }) => phase === 'failed' && record?.failure?.code === 'EXHAUSTED'

/** Lists have no analyses: whether a record is the whole one. @param {ImageRecord | undefined} record */
export const hasResults = (record) => record?.analyses !== undefined

/** @param {unknown} body @returns {body is ImageRecord} */
export const isRecord = (body) => Boolean(Object(body).imageId)

/** @param {Pick<Photo, 'key' | 'name' | 'phase'> & Partial<Photo>} start */
export function newPhoto(start) {
  /** @type {Photo} */
  const photo = { added: Date.now(), ...start, sent: 0, selected: false }
  photos.set(photo.key, photo)
  return photo
}

/** The photo of a record. @param {ImageRecord} record */
export function photoOf(record) {
  const name = record.original?.filename || `Photo ${record.imageId.slice(-6)}`
  const added = Date.parse(record.createdAt ?? '') || Date.now()
  return photos.get(record.imageId) ?? newPhoto({ key: record.imageId, name, added, ...factsOf(record) })
}

/** @param {ImageRecord} record */
const factsOf = (record) => ({
  record,
  phase: record.status,
  problem: record.failure && explainFailure(record.failure),
})

/** The one way in which a photo changes. @param {Photo} photo @param {Partial<Photo>} patch */
export function change(photo, patch) {
  const before = photo.phase
  Object.assign(photo, patch)
  photoChanges.publish(photo)
  changeList()
  if (photo.phase === before) return
  if (photo.phase === 'completed') announce(`${photo.name}: completed.`)
  if (photo.problem) announce(`${photo.name}: ${statusText(photo)}. ${photo.problem.what}`)
}

/** @param {Photo} photo @param {ImageRecord} record */
export function update(photo, record) {
  change(photo, { ...factsOf(record), name: record.original?.filename || photo.name, note: undefined })
}

/** @param {Photo} photo @param {string} key */
export function rename(photo, key) {
  photos.delete(photo.key)
  photos.set(key, photo)
  photo.key = key
}

/** @param {Photo} photo */
export function remove(photo) {
  if (opened === photo) open(undefined)
  photos.delete(photo.key)
  listed = listed.filter((other) => other !== photo)
  if (photo.preview) URL.revokeObjectURL(photo.preview)
  changeList()
}

/** @param {Photo | undefined} photo */
export function open(photo) {
  const before = opened
  opened = photo
  openings.publish(before)
}

/** @param {Photo | undefined} photo @param {1 | -1} step to the next one of the list, or the one before */
export const neighbour = (photo, step) =>
  photo && listed.includes(photo) ? listed[listed.indexOf(photo) + step] : undefined

/* The list */

/** What there is to say of the list as a whole, and whether there is more of it. */
export const list = { notice: 'Loading earlier photos…', isComplete: false }

let isChangeDue = false
export function changeList() {
  if (isChangeDue) return
  isChangeDue = true
  requestAnimationFrame(() => {
    isChangeDue = false
    listChanges.publish()
  })
}

/** Those that were added on this page, in the order of the list. @type {Photo[]} */
let added = []

/** Photos that are added on this page come above all others. @param {Photo[]} more */
export function listFirst(more) {
  added = [...more, ...added]
  listed = [...more, ...listed]
  changeList()
}

/** The server has a photo of this page now, and lists the newest first: so the order is the same after a reload. @param {Photo} photo */
export function place(photo) {
  added = placed(added, photo)
  listed = placed(listed, photo)
  changeList()
}

/** @param {Photo[]} all @param {Photo} photo @returns {Photo[]} */
function placed(all, photo) {
  const at = all.indexOf(photo)
  // An id begins with its time.
  const isInPlace = all.every(
    (other, index) => other === photo || !isOnServer(other) || other.key > photo.key === index < at,
  )
  if (at < 0 || isInPlace) return all
  const others = all.toSpliced(at, 1)
  const older = others.findIndex((other) => isOnServer(other) && other.key < photo.key)
  return others.toSpliced(older < 0 ? others.length : older, 0, photo)
}

/** What the server lists next; a photo that was added here has its place already. @param {ImageRecord[]} records */
export function listNext(records) {
  const known = new Set(listed)
  listed = [...listed, ...records.map(photoOf).filter((photo) => !known.has(photo))]
  changeList()
}

/** Begins the list again. What is not finished continues, and stays where nothing is filtered. */
export function emptyList() {
  /** @param {Photo} photo */
  const isFinished = ({ phase }) => phase === 'completed' || phase === 'failed' || phase === 'gone'
  listed =
    filters.size > 0 ? [] : added.filter((photo) => photos.get(photo.key) === photo && !isFinished(photo))
  changeList()
}

/** @param {Photo} photo @param {boolean} selected */
export function select(photo, selected) {
  photo.selected = selected
  changeList()
}

/** That of the last click. @type {Photo | undefined} */
let picked

/** By a click, and with the shift key all from the click before to this one. @param {Photo} photo @param {boolean} selected @param {boolean} isRange */
export function pick(photo, selected, isRange) {
  const before = isRange && picked ? listed.indexOf(picked) : -1
  const at = listed.indexOf(photo)
  const range = before < 0 ? [photo] : listed.slice(Math.min(before, at), Math.max(before, at) + 1)
  for (const each of range.filter(isOnServer)) select(each, selected)
  picked = photo
}

export const selectable = () => listed.filter(isOnServer)

export const selectedPhotos = () => selectable().filter((photo) => photo.selected)

/* Filters: the query of the list */

const MOST_LABELS = 5 // as many as the API takes
export let filters = new URLSearchParams()

/** @param {URLSearchParams} query */
export function setFilters(query) {
  filters = query
  filterChanges.publish()
}

/** So that what is added is seen. */
export function clearFilters() {
  if (filters.size > 0) setFilters(new URLSearchParams())
}

/** Adds labels to the search. @param {string[]} names */
export function searchLabels(...names) {
  const query = new URLSearchParams(filters)
  query.delete('label')
  for (const name of withLabels(filters.getAll('label'), names)) query.append('label', name)
  setFilters(query)
}

/** @param {string[]} labels @param {string[]} more in any case @returns {string[]} each once, the last ones if too many */
export function withLabels(labels, more) {
  const added = more.filter(
    (name) => name && !labels.some((other) => other.toLowerCase() === name.toLowerCase()),
  )
  return [...labels, ...added].slice(-MOST_LABELS)
}

/* Settings */

/** @type {{ analyses: string[] | undefined }} other analyses than the server's own choice */
export const settings = { analyses: undefined }
