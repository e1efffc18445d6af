// @ts-check

/**
 * Photos under way, until their end: one request a second for all of them, however many there are.
 *
 * @import { ImageRecord, Photo } from './store.js'
 */

import { ask, askUntilAnswered, BASE, imageUrl, lost, outage } from './server.js'
import { change, isInWork, isRecord, listChanges, opened, photoChanges, photos, update } from './store.js'
import { backoff, sleep } from './tools.js'
import { announce, explain } from './words.js'

/** Seconds from one request to the next. */
const EVERY = 1
/** While the page is not seen, or no photo has changed for so long: some wait for a quota or for the next month. */
const EVERY_HIDDEN = 10
const QUIET = 120
/** Seconds in which no photo is finished, and so the first request after a pause would be in vain. */
const SHORTEST = 0.3
/** The most photos that one list has. */
const MOST = 100

/** When each photo was looked at last. @type {WeakMap<Photo, number>} */
const seen = new WeakMap()
/** One that a list did not have where it belongs: it is asked for alone. @type {Photo | undefined} */
let missing
/** @type {WeakMap<Photo, string>} */
const phases = new WeakMap()
let isFollowing = false
let asked = 0
/** Whether the part of the list that was looked at last was that of the oldest ones. */
let isOldestTurn = false
let changed = 0
let trouble = 0

const now = () => performance.now() / 1000
const isQuiet = () => now() - changed > QUIET

async function follow() {
  if (isFollowing || !followed().length) return
  isFollowing = true
  await sleep(SHORTEST)
  for (let all = followed(); all.length > 0; all = followed()) {
    if (document.hidden) await Promise.race([sleep(EVERY_HIDDEN), seenAgain()])
    await untilDue()
    await outage
    asked = now()
    const pause = await (missing && isInWork(missing) ? lookAt(missing) : lookAtList(all))
    trouble = pause === undefined ? 0 : trouble + 1
    await sleep(pause ?? 0)
  }
  isFollowing = false
}

/** A change on the page ends a long pause. */
async function untilDue() {
  do await sleep(Math.max(0, Math.min(EVERY, asked + EVERY - now())))
  while (isQuiet() && now() < asked + EVERY_HIDDEN)
}

const followed = () => [...photos.values()].filter(isInWork)
const seenAgain = () =>
  new Promise((done) => document.addEventListener('visibilitychange', done, { once: true }))

/** @param {Photo[]} some */
const newestFirst = (some) => some.toSorted((a, b) => (a.key < b.key ? 1 : -1))

/**
 * Looks at a part of the list: from the photo that was not looked at for longest, to those that came before it. So each
 * has its turn, at any place in the list. While many are sent there are always new ones that were never looked at: so
 * every other part is that of the oldest ones, which are finished first.
 *
 * @param {Photo[]} all
 * @returns seconds to wait after trouble
 */
async function lookAtList(all) {
  isOldestTurn = !isOldestTurn && all.length > MOST
  const turns = all.map((photo) => seen.get(photo) ?? 0)
  const longest = Math.min(...turns)
  const [first] = isOldestTurn
    ? newestFirst(all).slice(-MOST)
    : newestFirst(all.filter((_, at) => turns[at] === longest))
  if (!first) return undefined
  const turn = seen.get(first)
  // Ids begin with their time: 48 bits of milliseconds (RFC 9562, section 5.7).
  const time = Number.parseInt(first.key.slice(0, 13).replace('-', ''), 16)
  const query = new URLSearchParams({
    to: new Date(time).toISOString(),
    limit: String(Math.min(MOST, all.length + 1)),
  })
  const answer = await ask(`${BASE}images?${query}`)
  const items = Object(answer?.body).items
  if (!answer || !Array.isArray(items)) return pauseAfter(answer)
  for (const record of items.filter(isRecord)) {
    const photo = photos.get(record.imageId)
    if (photo && isInWork(photo)) receive(photo, record)
  }
  // Alone, a record says what its photo waits for.
  if (seen.get(first) === turn || isQuiet()) missing = first
  return undefined
}

/** @param {Photo} photo @returns seconds to wait after trouble */
async function lookAt(photo) {
  missing = undefined
  const answer = await ask(imageUrl(photo.key))
  if (answer?.status === 200 && isRecord(answer.body)) receive(photo, answer.body)
  else if (answer?.status === 404) isGone(photo, answer)
  else return pauseAfter(answer)
  return undefined
}

/** @param {Photo} photo @param {ImageRecord} record */
function receive(photo, record) {
  seen.set(photo, performance.now())
  // A list may be late, and has the failure that was before the retry.
  const isNewer = record.updatedAt !== photo.record?.updatedAt || record.status !== photo.record?.status
  if (!isNewer && record.waits && photos.get(photo.key) === photo) change(photo, { record })
  if (isNewer && photos.get(photo.key) === photo) update(photo, record)
}

/** @param {Photo} photo @param {import('./server.js').Answer} answer */
function isGone(photo, answer) {
  const problem = { ...explain(answer), again: photo.file !== undefined }
  change(photo, { phase: 'gone', problem, note: undefined })
}

/** @param {import('./server.js').Answer | undefined} answer */
async function pauseAfter(answer) {
  if (!answer && (await lost())) return 0
  return Math.min(60, Math.max(answer?.retryAfter ?? 0, backoff(trouble)))
}

/** @type {WeakSet<Photo>} */
const reading = new WeakSet()

/** The whole record of a photo that is open: a list leaves out the results of Rekognition. @param {Photo} photo */
export async function readWhole(photo) {
  if (reading.has(photo)) return
  reading.add(photo)
  for (let attempt = 0; opened === photo; attempt++) {
    const answer = await askUntilAnswered(imageUrl(photo.key))
    if (answer.status === 200 && isRecord(answer.body)) update(photo, answer.body)
    else if (answer.status === 404) isGone(photo, answer)
    else {
      await sleep(Math.max(answer.retryAfter ?? 0, backoff(attempt)))
      continue
    }
    break
  }
  reading.delete(photo)
}

/** Has the server analyse a failed photo again. @param {Photo} photo */
export async function retry(photo) {
  const { phase, problem } = photo
  change(photo, { phase: 'pending', problem: undefined })
  const answer = await ask(imageUrl(photo.key, '/retry'), { method: 'POST' })
  // 409: another request was faster, and the record will say how it stands.
  if (answer?.status === 202 || answer?.status === 409) return
  const why = answer ? explain(answer).what : 'The server does not answer.'
  announce(`${photo.name} could not be tried again. ${why}`)
  const todo = `It could not be tried again just now: ${why} Try it again later.`
  if (photo.phase === 'pending') change(photo, { phase, problem: problem && { ...problem, todo } })
}

export function startFollowing() {
  listChanges.subscribe(follow)
  // Of a page that is not seen the list does not change.
  photoChanges.subscribe(follow)
  photoChanges.subscribe((photo) => {
    // Taken up and let go again, a photo that waits has no news.
    if (phases.get(photo) !== photo.phase) changed = now()
    phases.set(photo, photo.phase)
  })
}
