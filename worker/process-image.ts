import { randomUUID } from 'node:crypto'
import {
  type Image,
  isExhausted,
  isFinished,
  type Kept,
  type ProcessingImage,
  Verdict,
} from '../shared/image.ts'
import {
  claimImage,
  commitImage,
  deleteObjects,
  exhaust,
  getImage,
  type Outcome,
  retryImage,
} from '../shared/lifecycle.ts'
import { ownerTag, runOf, say } from '../shared/log.ts'
import { inSpan, type Job } from '../shared/messages.ts'
import {
  type Analysed,
  analyse,
  type Message,
  ObjectUnreadable,
  type Sendable,
  type Time,
} from './analysis.ts'
import type { ProcessDeps } from './deps.ts'
import {
  demandOriginal,
  dropUpload,
  fetchOriginal,
  type Picture,
  renderedPicture,
  renderOriginal,
  storedPicture,
  withMemoryFor,
} from './original.ts'
import { type AttemptOutcome, paidCallsOf, pause, pauseAfterAttempt, release } from './outcomes.ts'
import { findSameBytes, fitItem, knownAnswers } from './results.ts'

/** Milliseconds by which the clocks of two workers may differ. */
const CLOCK_SKEW_MS = 2_000

/**
 * One image from top to bottom: claim, fetch, render, analyse, commit. The caller announces a finished image, and
 * acknowledges the job only after: the job in the queue is what remembers an announcement that is still to come.
 *
 * @param message of the job
 * @throws what went wrong with the claim
 */
export async function processImage(
  deps: ProcessDeps,
  job: Job,
  message: Message,
  time: Time,
): Promise<AttemptOutcome> {
  if (time.signal.aborted)
    return { kind: 'out of time', seconds: pauseAfterAttempt(deps.random, time, message.receives) }
  const longest = time.stopped - deps.elapsed() + CLOCK_SKEW_MS
  // By the wall clock, because it is stored and compared by other processes, which have only that in common.
  const lease = { id: randomUUID(), until: deps.now().getTime() + longest }
  let claim = await inSpan('claim', () => claimImage(deps, job, lease))
  if (claim.kind === 'early' && isExhausted(claim.image) && claim.image.epoch + 1 === job.epoch) {
    // Redriven. Where this begins nothing, a retry has, or the failure is still to be announced.
    const begun = await retryImage(deps, claim.image)
    if (begun !== undefined) say(deps.log, 'redriven', runOf(begun))
    claim = await claimImage(deps, job, lease)
  }
  switch (claim.kind) {
    case 'claimed':
      return attempt(deps, sinceArrival(claim.image, message.sentAt), message, time)
    case 'finished':
      // Perhaps the same form was posted once more.
      await dropUpload(deps, claim.image)
      return claim
    case 'replaced': {
      const later = await getImage(deps, job.imageId)
      if (later !== undefined && isFinished(later)) await dropUpload(deps, later)
      say(deps.log, 'job replaced', { imageId: job.imageId, epoch: job.epoch })
      return claim
    }
    case 'deleted': {
      // A worker that was at it may have stored something after the deletion.
      await deleteObjects(deps, job.imageId)
      say(deps.log, 'job without image', { imageId: job.imageId, epoch: job.epoch })
      return claim
    }
    case 'held':
    case 'early': {
      // No lease lasts longer than this worker's own, even where the holder's clock is wrong.
      const held = claim.kind === 'held' ? Math.min(claim.leaseUntil - deps.now().getTime(), longest) : 0
      const seconds = Math.max(Math.ceil(held / 1_000), pause(deps.random, message.receives))
      return { kind: 'held', image: claim.image, seconds }
    }
  }
}

/** An upload is submitted when it is there, of which S3 has sent its job; its form may have been issued long before. */
const sinceArrival = (image: ProcessingImage, at: number): ProcessingImage =>
  image.original.sha256 === undefined && at > image.submittedAt ? { ...image, submittedAt: at } : image

/** What an attempt has found out about an image, whether it was enough for an outcome or not. */
interface Examined {
  /** With the original as it turned out. */
  image: ProcessingImage
  /** What the next attempt need not pay for again. */
  kept: Kept
  took: Took
  end: { outcome: Outcome; cause?: unknown } | { trouble: unknown }
}

/** Works on an image that this worker holds. */
async function attempt(
  deps: ProcessDeps,
  claimed: ProcessingImage,
  { messageId, receives }: Message,
  time: Time,
): Promise<AttemptOutcome> {
  const from = deps.elapsed()
  const queuedMs = age(deps, claimed)
  say(deps.log, 'claimed', { ...runOf(claimed), messageId, queuedMs, parked: claimed.parked })
  const hasNoAttemptLeft = claimed.attempts - (claimed.throttled ?? 0) > deps.maxAttempts
  const { image, kept, took, end } = hasNoAttemptLeft
    ? giveUp(deps, claimed)
    : await new Examination(deps, claimed, time).run()
  const giveBack = (error: unknown) => release(deps, image, kept, receives, error, time)
  if ('trouble' in end) return giveBack(end.trouble)
  const outcome = { ...end.outcome, paidCalls: paidCallsOf(image, kept) }
  return commit(deps, image, outcome, { from, messageId, queuedMs, ...took }, end.cause).catch(giveBack)
}

const giveUp = ({ maxAttempts }: ProcessDeps, image: ProcessingImage): Examined => {
  const what = `The image was not analysed in ${maxAttempts} ${maxAttempts === 1 ? 'attempt' : 'attempts'}`
  const outcome = { status: 'failed' as const, ...exhaust(image, image.attempts - 1, what) }
  return { image, kept: image.kept ?? {}, took: {}, end: { outcome, cause: outcome.trouble } }
}

/** Where the time of an attempt went, for the log. */
type Took = Analysed['took'] & { fetchMs?: number; decodeMs?: number; analyseMs?: number }

/** Milliseconds since this run was asked for; none where a clock is wrong. */
const age = (deps: ProcessDeps, { submittedAt }: Image): number =>
  Math.max(0, deps.now().getTime() - submittedAt)

/**
 * Commits; where the image has been deleted, what was stored for it goes after it.
 *
 * @param error what a verdict follows from, for the log
 */
async function commit(
  deps: ProcessDeps,
  image: ProcessingImage,
  outcome: Outcome,
  { from, ...took }: Took & Pick<Message, 'messageId'> & { from: number; queuedMs: number },
  error?: unknown,
): Promise<AttemptOutcome> {
  const finished = await inSpan('commit', () => commitImage(deps, image, outcome))
  if (finished !== undefined) {
    const { owner, original, paidCalls = {} } = finished
    const { width = 0, height = 0 } = original
    const facts = {
      ...runOf(image),
      owner: ownerTag(owner),
      bytes: original.bytes,
      ...took,
      workMs: Math.round(deps.elapsed() - from),
      totalMs: age(deps, image),
      paidCalls: Object.values(paidCalls).reduce<number>((sum, calls = 0) => sum + calls, 0),
    }
    if (finished.status === 'failed') {
      say(deps.log, 'failed', { ...facts, code: finished.failure.code, error })
    } else say(deps.log, 'completed', { ...facts, pixels: width * height, reused: finished.reused })
    await dropUpload(deps, finished)
    return { kind: 'finished', image: finished }
  }
  if ((await getImage(deps, image.imageId)) === undefined) await deleteObjects(deps, image.imageId)
  say(deps.log, 'outcome lost', runOf(image))
  return { kind: 'outcome lost' }
}

/** Finds out everything about an image that this worker holds; it keeps what it knows so far, however it ends. */
class Examination {
  readonly #deps: ProcessDeps
  readonly #time: Time
  /** Undefined for an upload, whose bytes are not known yet. */
  readonly #findSameBytes: ReturnType<typeof findSameBytes> | undefined
  #image: ProcessingImage
  #kept: Kept
  #took: Took = {}

  constructor(deps: ProcessDeps, image: ProcessingImage, time: Time) {
    this.#deps = deps
    this.#time = time
    this.#image = image
    this.#kept = image.kept ?? {}
    // At once, so that it is read together with those of the other images of the batch.
    this.#findSameBytes = image.original.sha256 === undefined ? undefined : findSameBytes(deps, image)
  }

  async run(): Promise<Examined> {
    const end = await this.#outcome().then(
      (outcome) => ({ outcome }),
      (error: unknown) => this.#endBy(error),
    )
    return { image: this.#image, kept: this.#kept, took: this.#took, end }
  }

  #endBy(error: unknown): Examined['end'] {
    if (!(error instanceof Verdict)) return { trouble: error }
    const { original } = this.#image
    return { outcome: { status: 'failed', failure: error.failure, original }, cause: error.cause }
  }

  /** No paid call is made before the last pixel has been decoded, by this attempt or by one before. */
  async #outcome(): Promise<Outcome> {
    const picture = this.#pictureBefore() ?? (await this.#picture())
    this.#time.signal.throwIfAborted()

    const [stored, analysed] = await Promise.allSettled([
      picture.store(),
      this.#timed('analyseMs', () => this.#analyse(picture)),
    ])
    if (stored.status === 'fulfilled') this.#kept = { ...this.#kept, stored: stored.value }
    if (analysed.status === 'rejected') {
      if (analysed.reason instanceof ObjectUnreadable) await demandOriginal(this.#deps, this.#image)
      throw analysed.reason
    }
    if (stored.status === 'rejected') throw stored.reason
    const { takesOriginal: _, ...pictures } = stored.value
    return { status: 'completed', ...pictures, ...analysed.value }
  }

  #pictureBefore(): Picture | undefined {
    const { stored } = this.#kept
    if (stored === undefined || (this.#deps.preview && stored.preview === undefined)) return undefined
    this.#image = { ...this.#image, original: stored.original }
    return storedPicture(this.#deps, stored, {
      original: () => this.#withOriginal(async (bytes) => bytes),
      jpeg: () => this.#renderInJpeg(),
    })
  }

  async #picture(): Promise<Picture> {
    const { preview, rekognitionSource: source } = this.#deps
    const { sent, ...rendered } = await this.#withOriginal(async (bytes) => {
      const made = await this.#timed('decodeMs', () =>
        renderOriginal(this.#deps, bytes, source, this.#time, preview),
      )
      // The original itself, which may be large, is not kept for the time of the analysis where it is not sent.
      return { ...made, sent: source === 'bytes' && made.takesOriginal ? bytes : undefined }
    })
    const { contentType, width, height } = rendered
    this.#image = { ...this.#image, original: { ...this.#image.original, contentType, width, height } }
    return renderedPicture(this.#deps, this.#image, rendered, sent, () => this.#renderInJpeg(), this.#time)
  }

  async #analyse(picture: Sendable) {
    const imageId = await (this.#findSameBytes ?? findSameBytes(this.#deps, this.#image))()
    const known = await knownAnswers(this.#deps, this.#image, imageId)
    if (known !== undefined)
      return { ...(await fitItem(this.#deps, this.#image.imageId, known, this.#time)), reused: true }
    const { analyses } = this.#image
    const { kept, took, ...found } = await analyse(this.#deps, picture, analyses, this.#kept, this.#time)
    this.#kept = kept
    this.#took = { ...this.#took, ...took }
    if ('error' in found) throw found.error
    return fitItem(this.#deps, this.#image.imageId, found.answers, this.#time)
  }

  /** A JPEG of an original that Rekognition has refused, where there is none yet: it is fetched and decoded once more. */
  async #renderInJpeg(): Promise<Buffer> {
    const { rendition } = await this.#withOriginal((bytes) =>
      renderOriginal(this.#deps, bytes, 'jpeg', this.#time),
    )
    if (rendition === undefined) throw new Error('The decoder was asked for a JPEG and made none.')
    return rendition
  }

  #withOriginal<T>(work: (bytes: Buffer) => Promise<T>): Promise<T> {
    return withMemoryFor(this.#deps, this.#image.original, this.#time, async () => {
      const { bytes, original } = await this.#timed('fetchMs', () =>
        fetchOriginal(this.#deps, this.#image, this.#time),
      )
      this.#image = { ...this.#image, original }
      return work(bytes)
    })
  }

  /** Runs a part of the work, and notes how long it took. */
  async #timed<T>(part: 'fetchMs' | 'decodeMs' | 'analyseMs', run: () => Promise<T>): Promise<T> {
    const from = this.#deps.elapsed()
    try {
      return await (part === 'analyseMs' ? run() : inSpan(part.slice(0, -2), run))
    } finally {
      this.#took = { ...this.#took, [part]: Math.round(this.#deps.elapsed() - from) }
    }
  }
}
