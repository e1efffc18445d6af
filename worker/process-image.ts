import { createHash, randomUUID } from 'node:crypto'
import type { Readable } from 'node:stream'
import type { Image as RekognitionImage } from '@aws-sdk/client-rekognition'
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  NoSuchKey,
  NotFound,
  PutObjectCommand,
} from '@aws-sdk/client-s3'
import { formatOf, refusalOf } from '../packages/image-guard/format.ts'
import { blankPosition, readExif } from '../packages/image-guard/index.ts'
import {
  type Answers,
  analysisKey,
  analysisSchema,
  type FinishedImage,
  type Image,
  type ImageId,
  isExhausted,
  isFinished,
  type Kept,
  type Metadata,
  type PaidAnalysis,
  type ProcessingImage,
  paidAnalyses,
  previewKey,
  thumbnailKey,
  uploadKey,
  Verdict,
} from '../shared/image.ts'
import {
  claimImage,
  commitImage,
  deleteObjects,
  findSameBytes,
  getImage,
  type Outcome,
  releaseImage,
  retryImage,
  settleOriginal,
} from '../shared/lifecycle.ts'
import { ownerTag, runOf, say } from '../shared/log.ts'
import type { Job } from '../shared/messages.ts'
import { analyse, ObjectUnreadable, outline, Throttled, type Time } from './analysis.ts'
import type { ProcessDeps } from './deps.ts'
import { type AttemptOutcome, pause, type Unfinished } from './outcomes.ts'
import { THUMBNAIL_SIDE } from './thumbnail.ts'

/** Another worker has taken the image over. */
class Held extends Error {
  override readonly name = 'Held'
  constructor() {
    super('Another worker holds the image.')
  }
}

/** Milliseconds by which the clocks of two workers may differ. */
const CLOCK_SKEW_MS = 2_000

/**
 * Bytes of JSON that the results in an item may have. DynamoDB takes items of 400 KB, counted more tightly than JSON
 * is written (names and values without quotes); the rest of a record is under 20 KB.
 */
const MAX_RESULT_BYTES = 350_000

/**
 * One image from top to bottom: claim, fetch, render, analyse, commit. The caller announces a finished image, and
 * acknowledges the job only after: the job in the queue is what remembers an announcement that is still to come.
 *
 * @param receives of the job's message
 * @throws what went wrong with the claim, or with the commit of a verdict
 */
export async function processImage(
  deps: ProcessDeps,
  job: Job,
  receives: number,
  time: Time,
): Promise<AttemptOutcome> {
  if (time.signal.aborted) return { kind: 'out of time' }
  const longest = time.stopped - deps.elapsed() + CLOCK_SKEW_MS
  // By the wall clock, because it is stored and compared by other processes, which have only that in common.
  const lease = { id: randomUUID(), until: deps.now().getTime() + longest }
  let claim = await claimImage(deps, job, lease)
  if (claim.kind === 'early' && isExhausted(claim.image) && claim.image.epoch + 1 === job.epoch) {
    // Redriven. Where this begins nothing, a retry has, or the failure is still to be announced.
    await retryImage(deps, claim.image)
    claim = await claimImage(deps, job, lease)
  }
  switch (claim.kind) {
    case 'claimed':
      return attempt(deps, claim.image, receives, time)
    case 'finished': {
      // Posted with the same form once more, perhaps.
      await dropUpload(deps, claim.image)
      return claim
    }
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
      const seconds = Math.max(Math.ceil(held / 1_000), pause(deps.random, receives))
      return { kind: 'held', image: claim.image, seconds }
    }
  }
}

/** Works on an image that this worker holds. */
async function attempt(
  deps: ProcessDeps,
  image: ProcessingImage,
  receives: number,
  time: Time,
): Promise<AttemptOutcome> {
  const took: Took = { from: deps.elapsed(), queuedMs: age(deps, image), paidCalls: 0 }
  say(deps.log, 'claimed', { ...runOf(image), queuedMs: took.queuedMs })
  const kept: Kept = { ...image.kept }
  try {
    if (image.attempts - (image.throttled ?? 0) > deps.maxAttempts) {
      const message = `The image was not analysed in ${deps.maxAttempts} attempts; try again later.`
      return await commit(deps, image, took, { status: 'failed', failure: { code: 'EXHAUSTED', message } })
    }
    const results = await examine(deps, image, kept, time, took)
    return await commit(deps, image, took, { status: 'completed', ...results })
  } catch (error) {
    if (error instanceof Verdict) {
      const outcome = { status: 'failed', failure: error.failure, original: image.original } as const
      return await commit(deps, image, took, outcome, error.cause)
    }
    return { ...unfinished(error, time), image, seconds: await release(deps, image, kept, receives, error) }
  }
}

function unfinished(error: unknown, { signal }: Time): Unfinished {
  if (error instanceof Throttled) return { kind: 'waits for quota' }
  // What was broken off because the time is up says so in many ways.
  if (signal.aborted) return { kind: 'out of time' }
  return error instanceof Held ? { kind: 'held' } : { kind: 'attempt failed', error }
}

/** Where the time of an attempt went, for the log. */
interface Took extends Partial<Record<`${PaidAnalysis}Ms`, number>> {
  /** By `elapsed`. */
  from: number
  queuedMs: number
  fetchMs?: number
  decodeMs?: number
  analyseMs?: number
  paidCalls: number
}

/** Milliseconds since this run was asked for; none where a clock is wrong. */
const age = (deps: ProcessDeps, { submittedAt }: Image): number =>
  Math.max(0, deps.now().getTime() - submittedAt)

/** Runs a part of an attempt, and notes how long it took. */
async function timed<T>(
  { elapsed }: ProcessDeps,
  took: Took,
  part: 'fetchMs' | 'decodeMs' | 'analyseMs',
  run: () => Promise<T>,
): Promise<T> {
  const from = elapsed()
  try {
    return await run()
  } finally {
    took[part] = Math.round(elapsed() - from)
  }
}

/**
 * Commits; where the image has been deleted, what was stored for it goes after it.
 *
 * @param error what a verdict follows from, for the log
 */
async function commit(
  deps: ProcessDeps,
  image: ProcessingImage,
  { from, ...parts }: Took,
  outcome: Outcome,
  error?: unknown,
): Promise<AttemptOutcome> {
  const finished = await commitImage(deps, image, outcome)
  if (finished !== undefined) {
    const { owner, original } = finished
    const { width = 0, height = 0 } = original
    const facts = {
      ...{ ...runOf(image), owner: ownerTag(owner), bytes: original.bytes, ...parts },
      ...{ workMs: Math.round(deps.elapsed() - from), totalMs: age(deps, image) },
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

/** Of a finished image; but one that was given up before anybody could look at its upload needs that for a retry. */
async function dropUpload(deps: ProcessDeps, image: FinishedImage): Promise<void> {
  if (!image.uploaded || (image.original.sha256 === undefined && isExhausted(image))) return
  try {
    await deps.s3.send(new DeleteObjectCommand({ Bucket: deps.bucket, Key: uploadKey(image.imageId) }))
  } catch (error) {
    say(deps.log, 'not tidy', { ...runOf(image), error })
  }
}

/** @returns for how many seconds the job should stay away */
async function release(
  deps: ProcessDeps,
  image: ProcessingImage,
  kept: Kept,
  receives: number,
  error: unknown,
): Promise<number> {
  // What is too large to be kept has been paid for in vain, and then the attempt counts, so that there is an end to it.
  const keeps = JSON.stringify(kept).length <= MAX_RESULT_BYTES
  const waits = error instanceof Throttled && keeps
  const throttled = (image.throttled ?? 0) + (waits ? 1 : 0)
  // A copy of the job, which the sweeper has sent, waits no less than the job itself.
  const times = Math.max(receives, throttled)
  const seconds = waits ? pause(deps.random, times) : pause(deps.random, times, image.attempts - throttled)
  try {
    await releaseImage(deps, image, { throttled, kept: keeps ? kept : {}, waitMs: seconds * 1_000 })
  } catch (cause) {
    say(deps.log, 'not released', { ...runOf(image), error: cause })
  }
  return seconds
}

/** Everything that is found out about an image. No paid call is made before its last pixel has been decoded. */
async function examine(deps: ProcessDeps, image: ProcessingImage, kept: Kept, time: Time, took: Took) {
  const { rendered, sent, metadata } = await withOriginal(deps, image, time, took, async (bytes) => {
    const { preview, heic, rekognitionSource: source } = deps
    const { exif, ...rendered } = await timed(deps, took, 'decodeMs', () =>
      deps.render(bytes, source, { preview, heic, signal: time.signal }),
    )
    // The original itself, which may be large, is not kept for the time of the analysis where it is not sent.
    const original = source === 'bytes' ? bytes : undefined
    return {
      rendered,
      sent: rendered.takesOriginal ? original : rendered.rendition,
      metadata: metadataOf(deps, image, exif),
    }
  })
  const { contentType, width, height, thumbnail, preview } = rendered
  image.original = { ...image.original, contentType, width, height }
  time.signal.throwIfAborted()

  const inJpeg = async (): Promise<Buffer> =>
    rendered.rendition ?? (await renderInJpeg(deps, image, time, took))
  const [stored, analysed, previewed] = await Promise.allSettled([
    put(deps, thumbnailKey(image.imageId), thumbnail, 'image/jpeg', time),
    timed(deps, took, 'analyseMs', () =>
      findResults(deps, image, sent, kept, time, rendered.takesOriginal ? inJpeg : undefined, took),
    ),
    preview && put(deps, previewKey(image.imageId), preview.bytes, 'image/jpeg', time),
  ])
  if (analysed.status === 'rejected') {
    if (analysed.reason instanceof ObjectUnreadable) await demandOriginal(deps, image)
    throw analysed.reason
  }
  if (stored.status === 'rejected') throw stored.reason
  if (previewed.status === 'rejected') throw previewed.reason
  return {
    original: image.original,
    thumbnail: { ...stored.value, width: THUMBNAIL_SIDE, height: THUMBNAIL_SIDE },
    ...(preview && { preview: { ...previewed.value, width: preview.width, height: preview.height } }),
    ...analysed.value,
    ...(metadata === undefined ? {} : { metadata }),
  }
}

/**
 * Has the original in memory while the work on it lasts, and no longer. What has a share of the decodes never waits for one
 * of these, so the two budgets cannot hold each other up.
 */
const withOriginal = <T>(
  deps: ProcessDeps,
  image: ProcessingImage,
  time: Time,
  took: Took,
  work: (bytes: Buffer) => Promise<T>,
): Promise<T> =>
  deps.originals.run(
    image.original.bytes,
    async () => {
      deps.makeRoom(image.original.bytes)
      const bytes = await timed(deps, took, 'fetchMs', () => takeIn(deps, image, time))
      return work(bytes)
    },
    { signal: time.signal },
  )

/** A JPEG of an original that Rekognition has refused, where there is none yet: it is fetched and decoded once more. */
async function renderInJpeg(
  deps: ProcessDeps,
  image: ProcessingImage,
  time: Time,
  took: Took,
): Promise<Buffer> {
  const { rendition } = await withOriginal(deps, image, time, took, (bytes) =>
    deps.render(bytes, 'jpeg', { heic: deps.heic, signal: time.signal }),
  )
  if (rendition === undefined) throw new Error('A decoder that is asked for a JPEG has made none.')
  return rendition
}

/** What an image's own file says, of what was asked for; so it never comes from another image. */
function metadataOf(
  { stripGps }: ProcessDeps,
  { analyses }: ProcessingImage,
  exif: Buffer | undefined,
): Metadata | undefined {
  if (!analyses.includes('metadata')) return undefined
  // An original that was stored before the switch was set has its position still.
  return exif === undefined ? {} : readExif(exif, { gps: analyses.includes('gps') && !stripGps })
}

/**
 * Results of the same bytes, of the same owner and by the same analyses, are not paid for again.
 *
 * @param sent what Rekognition is sent; otherwise it reads the original itself
 * @param inJpeg as for `analyse`
 */
async function findResults(
  deps: ProcessDeps,
  image: ProcessingImage,
  sent: Buffer | undefined,
  kept: Kept,
  time: Time,
  inJpeg: (() => Promise<Buffer>) | undefined,
  took: Took,
) {
  const analyses = paidAnalyses(image.analyses)
  const known = analyses.length === 0 ? undefined : await knownResults(deps, image)
  const { bucket, key } = image.original
  const forRekognition: RekognitionImage =
    sent === undefined ? { S3Object: { Bucket: bucket, Name: key } } : { Bytes: sent }
  const note = (name: PaidAnalysis, ms: number): void => {
    took[`${name}Ms`] = ms
    took.paidCalls += 1
  }
  const answers = known ?? (await analyse(deps, forRekognition, analyses, kept, time, inJpeg, note))
  return {
    ...(await fitItem(deps, image.imageId, answers, time)),
    ...(known === undefined ? {} : { reused: true }),
  }
}

async function knownResults(deps: ProcessDeps, image: ProcessingImage): Promise<Answers | undefined> {
  const imageId = await findSameBytes(deps, image)
  const other = imageId === undefined ? undefined : await getImage(deps, imageId)
  if (other?.status !== 'completed' || other.owner !== image.owner) return undefined
  // Until DynamoDB deletes it, an expired image is there for no caller.
  if (other.expiresAt !== undefined && other.expiresAt * 1_000 <= deps.now().getTime()) return undefined
  // Its object may have been deleted; then these bytes are analysed again.
  const whole = other.analysis === undefined ? undefined : await read(deps, other.analysis.key)
  if (other.analysis !== undefined && whole === undefined) return undefined
  return analysisSchema.parse(whole === undefined ? other : JSON.parse(whole.toString()))
}

/** Results that are too large for an item go into an object, whole; the item keeps what lists and events show. */
async function fitItem(
  deps: ProcessDeps,
  imageId: ImageId,
  answers: Answers,
  time: Time,
): Promise<Answers & { analysis?: object }> {
  const whole = Buffer.from(JSON.stringify(answers))
  if (whole.length <= MAX_RESULT_BYTES) return { ...answers, ...outline(answers) }
  const { rekognitionLabels, rekognitionFaces, rekognitionTextDetections: _text, ...small } = answers
  return {
    ...small,
    ...outline(answers),
    ...(rekognitionLabels && {
      rekognitionLabels: rekognitionLabels.map(({ Name, Confidence }) => ({ Name, Confidence })),
    }),
    ...(rekognitionFaces && {
      rekognitionFaces: rekognitionFaces.map(({ BoundingBox, Confidence, Emotions }) => ({
        BoundingBox,
        Confidence,
        Emotions,
      })),
    }),
    analysis: await put(deps, analysisKey(imageId), whole, 'application/json', time),
  }
}

async function put<T extends string>(
  { s3, bucket }: ProcessDeps,
  key: string,
  bytes: Buffer,
  contentType: T,
  { signal }: Time,
): Promise<{ bucket: string; key: string; contentType: T; bytes: number }> {
  await s3.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: bytes, ContentType: contentType }), {
    abortSignal: signal,
  })
  return { bucket, key, contentType, bytes: bytes.length }
}

const missing = (cause?: unknown): Verdict =>
  new Verdict('ORIGINAL_MISSING', 'The original is not in the bucket.', cause)

const otherSize = (bytes: number, announced: number): Verdict =>
  new Verdict('CORRUPT_IMAGE', `The file has ${bytes} bytes; ${announced} were announced.`)

/**
 * The bytes of the original. Those of a direct upload are looked at first, and move to a key that no form is for.
 *
 * @throws Verdict ORIGINAL_MISSING, UNSUPPORTED_FORMAT, CORRUPT_IMAGE
 */
async function takeIn(deps: ProcessDeps, image: ProcessingImage, time: Time): Promise<Buffer> {
  const { imageId, original } = image
  const limits = { most: original.bytes, signal: time.signal }
  const uploaded = original.sha256 === undefined ? await read(deps, uploadKey(imageId), limits) : undefined
  const bytes = uploaded ?? (await read(deps, original.key, limits))
  if (bytes === undefined) throw missing()
  if (original.sha256 !== undefined) return bytes

  const contentType = formatOf(bytes, deps.heic)?.contentType
  if (contentType === undefined) {
    throw new Verdict('UNSUPPORTED_FORMAT', refusalOf(bytes, deps.heic))
  }
  if (bytes.length !== original.bytes) throw otherSize(bytes.length, original.bytes)
  const isChanged = deps.stripGps === true && blankPosition(bytes)
  if (uploaded !== undefined || isChanged) await put(deps, original.key, bytes, contentType, time)
  image.original = { ...original, contentType, sha256: createHash('sha256').update(bytes).digest('hex') }
  if (!(await settleOriginal(deps, image, image.original))) throw new Held()
  return bytes
}

/**
 * @param limits the most bytes that it may have; of a larger one none is read
 * @returns undefined where there is no such object
 * @throws Verdict CORRUPT_IMAGE
 */
async function read(
  { s3, bucket }: ProcessDeps,
  Key: string,
  limits?: { most: number; signal: AbortSignal },
): Promise<Buffer | undefined> {
  try {
    const options = limits === undefined ? {} : { abortSignal: limits.signal }
    const { Body, ContentLength } = await s3.send(new GetObjectCommand({ Bucket: bucket, Key }), options)
    if (Body === undefined || ContentLength === undefined) throw new Error('S3 answered without a body.')
    const stream = Body as Readable
    if (limits !== undefined && ContentLength > limits.most) {
      stream.destroy()
      throw otherSize(ContentLength, limits.most)
    }
    // One, of the client of in-place.ts; the usual ones of a stream are joined.
    const chunks: Buffer[] = []
    for await (const chunk of stream as AsyncIterable<Buffer>) chunks.push(chunk)
    const bytes = chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)
    if (bytes.length !== ContentLength) {
      throw new Error(`S3 broke off after ${bytes.length} of ${ContentLength} bytes.`)
    }
    return bytes
  } catch (error) {
    // Only this one: a missing right or bucket is trouble of the surroundings, not the image's.
    if (error instanceof NoSuchKey) return undefined
    throw error
  }
}

async function demandOriginal({ s3 }: ProcessDeps, { original }: ProcessingImage): Promise<void> {
  try {
    await s3.send(new HeadObjectCommand({ Bucket: original.bucket, Key: original.key }))
  } catch (error) {
    throw error instanceof NotFound ? missing(error) : error
  }
}
