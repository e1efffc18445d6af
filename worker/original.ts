import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { DeleteObjectCommand, GetObjectCommand, NoSuchKey, PutObjectCommand } from '@aws-sdk/client-s3'
import { formatOf, refusalOf } from '../packages/image-guard/format.ts'
import { blankPosition, Refusal, type Rendered, type Source } from '../packages/image-guard/index.ts'
import {
  type FinishedImage,
  isExhausted,
  type Original,
  type ProcessingImage,
  uploadKey,
  Verdict,
} from '../shared/image.ts'
import { absenceOf, settleOriginal } from '../shared/lifecycle.ts'
import { runOf, say } from '../shared/log.ts'
import type { Time } from './analysis.ts'
import type { ProcessDeps } from './deps.ts'

/** Another worker has taken the image over. */
export class Held extends Error {
  override readonly name = 'Held'
  constructor() {
    super('Another worker holds the image.')
  }
}

/**
 * Has room for the original in memory while the work on it lasts, and no longer. What has a share of the decodes never waits for
 * one of these, so the two budgets cannot hold each other up.
 */
export const withMemoryFor = <T>(
  deps: ProcessDeps,
  { bytes }: Original,
  { signal }: Time,
  work: () => Promise<T>,
): Promise<T> =>
  deps.originals.run(
    bytes,
    async () => {
      deps.collectGarbage(bytes)
      return work()
    },
    { signal },
  )

const missing = (cause?: unknown): Verdict =>
  new Verdict('ORIGINAL_MISSING', 'The original is not in the bucket.', cause)

const otherSize = (bytes: number, announced: number): Verdict =>
  new Verdict('CORRUPT_IMAGE', `The file has ${bytes} bytes; ${announced} were announced.`)

/**
 * The bytes of the original, and what the record says of them from now on. Those of a direct upload are looked at first, and
 * move to a key that no form is for.
 *
 * @throws Verdict ORIGINAL_MISSING, UNSUPPORTED_FORMAT, CORRUPT_IMAGE; Held
 */
export async function fetchOriginal(
  deps: ProcessDeps,
  image: ProcessingImage,
  time: Time,
): Promise<{ bytes: Buffer; original: Original }> {
  const { imageId, original } = image
  const limits = { most: original.bytes, signal: time.signal }
  const uploaded = original.sha256 === undefined ? await read(deps, uploadKey(imageId), limits) : undefined
  const bytes = uploaded ?? (await read(deps, original.key, limits))
  if (bytes === undefined) throw missing()
  if (original.sha256 !== undefined) return { bytes, original }

  const contentType = formatOf(bytes, deps.heic)?.contentType
  if (contentType === undefined) {
    throw new Verdict('UNSUPPORTED_FORMAT', refusalOf(bytes, deps.heic))
  }
  if (bytes.length !== original.bytes) throw otherSize(bytes.length, original.bytes)
  const isChanged = deps.stripGps === true && blankPosition(bytes)
  if (uploaded !== undefined || isChanged) await put(deps, original.key, bytes, contentType, time)
  const settled = { ...original, contentType, sha256: createHash('sha256').update(bytes).digest('hex') }
  if (!(await settleOriginal(deps, image, settled))) throw new Held()
  return { bytes, original: settled }
}

/** @throws Verdict on an image that the guard refuses */
export async function renderOriginal(
  { render, heic }: ProcessDeps,
  bytes: Buffer,
  source: Source,
  { signal }: Time,
  preview = false,
): Promise<Rendered> {
  return await render(bytes, source, { preview, heic, signal }).catch((error) => {
    throw error instanceof Refusal ? new Verdict(error.code, error.message, error.cause ?? error) : error
  })
}

/**
 * Deletes the upload of a finished image. One that was given up before a worker could look at its upload needs that for a
 * retry.
 */
export async function dropUpload(deps: ProcessDeps, image: FinishedImage): Promise<void> {
  if (!image.uploaded || (image.original.sha256 === undefined && isExhausted(image))) return
  try {
    await deps.s3.send(new DeleteObjectCommand({ Bucket: deps.bucket, Key: uploadKey(image.imageId) }))
  } catch (error) {
    say(deps.log, 'not tidy', { ...runOf(image), error })
  }
}

/** Stores an object of the image. */
export async function put<T extends string>(
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

/**
 * Reads an object of the image.
 *
 * @param limits the most bytes that it may have; of a larger one none is read
 * @returns undefined where there is no such object
 * @throws Verdict CORRUPT_IMAGE
 */
export async function read(
  { s3, bucket }: ProcessDeps,
  Key: string,
  limits?: { most: number; signal: AbortSignal },
): Promise<Buffer | undefined> {
  try {
    const options = limits === undefined ? {} : { abortSignal: limits.signal }
    const { Body, ContentLength } = await s3.send(new GetObjectCommand({ Bucket: bucket, Key }), options)
    if (Body === undefined) throw new Error('S3 answered without a body.')
    const stream = Body as Readable
    const demandRoom = (length = 0): void => {
      if (limits === undefined || length <= limits.most) return
      stream.destroy()
      throw otherSize(length, limits.most)
    }
    demandRoom(ContentLength)
    // One, where the client is that of `readInPlace`; those of a stream are joined.
    const chunks: Buffer[] = []
    let length = 0
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      length += chunk.length
      demandRoom(length)
      chunks.push(chunk)
    }
    // An emulator may send an object in pieces, without its length.
    const whole = ContentLength ?? limits?.most ?? length
    if (length !== whole) throw new Error(`S3 broke off after ${length} of ${whole} bytes.`)
    return chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)
  } catch (error) {
    // Only this one: a missing right or bucket is trouble of the surroundings, not the image's.
    if (error instanceof NoSuchKey) return undefined
    throw error
  }
}

/** @throws Verdict ORIGINAL_MISSING */
export async function demandOriginal(deps: ProcessDeps, { original }: ProcessingImage): Promise<void> {
  const absence = await absenceOf(deps, original.bucket, original.key)
  if (absence !== undefined) throw missing(absence)
}
