import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import type { Image as RekognitionImage } from '@aws-sdk/client-rekognition'
import { DeleteObjectCommand, GetObjectCommand, NoSuchKey, PutObjectCommand } from '@aws-sdk/client-s3'
import { formatOf, refusalOf } from '../packages/image-guard/format.ts'
import {
  blankPosition,
  isRendition,
  Refusal,
  type Rendered,
  readExif,
  type Source,
  THUMBNAIL_SIDE,
} from '../packages/image-guard/index.ts'
import {
  type FinishedImage,
  isExhausted,
  type Metadata,
  type Original,
  type ProcessingImage,
  previewKey,
  type Stored,
  thumbnailKey,
  uploadKey,
  Verdict,
} from '../shared/image.ts'
import { absenceOf, settleOriginal } from '../shared/lifecycle.ts'
import { runOf, say } from '../shared/log.ts'
import { inSpan } from '../shared/messages.ts'
import type { Sendable, Time } from './analysis.ts'
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

/** An original that was decoded to its last pixel. */
export interface Picture extends Sendable {
  /** Stores what is made of it, where that is not done yet. */
  store: () => Promise<Stored>
}

/** Rekognition gets the original, where it takes that, and otherwise a JPEG of ours. */
const pictureOf = (
  takesOriginal: boolean,
  original: Sendable['first'],
  jpeg: Sendable['first'],
  store: Picture['store'],
): Picture => ({
  first: takesOriginal ? original : jpeg,
  ifRefused: takesOriginal ? jpeg : undefined,
  store,
})

/** An object that Rekognition reads itself. */
const inS3 = ({ bucket, key }: { bucket: string; key: string }): RekognitionImage => ({
  S3Object: { Bucket: bucket, Name: key },
})

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

async function storePictures(
  deps: ProcessDeps,
  image: ProcessingImage,
  { thumbnail, preview, takesOriginal, exif }: Rendered,
  time: Time,
): Promise<Stored> {
  const { imageId, original } = image
  const [stored, previewed] = await Promise.allSettled([
    put(deps, thumbnailKey(imageId), thumbnail, 'image/jpeg', time),
    preview && put(deps, previewKey(imageId), preview.bytes, 'image/jpeg', time),
  ])
  if (stored.status === 'rejected') throw stored.reason
  if (previewed.status === 'rejected') throw previewed.reason
  const metadata = metadataOf(deps, image, exif)
  return {
    original,
    takesOriginal,
    thumbnail: { ...stored.value, width: THUMBNAIL_SIDE, height: THUMBNAIL_SIDE },
    ...(preview &&
      previewed.value && {
        preview: { ...previewed.value, width: preview.width, height: preview.height },
      }),
    ...(metadata === undefined ? {} : { metadata }),
  }
}

/**
 * What this attempt has made of the original.
 *
 * @param bytes of the original, where Rekognition gets these
 * @param again makes a JPEG where none is rendered
 */
export function renderedPicture(
  deps: ProcessDeps,
  image: ProcessingImage,
  rendered: Rendered,
  bytes: Buffer | undefined,
  again: () => Promise<Buffer>,
  time: Time,
): Picture {
  const original = async () => (bytes === undefined ? inS3(image.original) : { Bytes: bytes })
  const jpeg = async () => ({ Bytes: rendered.rendition ?? (await again()) })
  const store = () => inSpan('thumbnail', () => storePictures(deps, image, rendered, time))
  return pictureOf(rendered.takesOriginal, original, jpeg, store)
}

/**
 * What an attempt before has made of the same original and stored: this one needs no byte of it, where Rekognition reads objects.
 *
 * @param again what is fetched where it does not, or takes no preview
 */
export function storedPicture(
  deps: ProcessDeps,
  stored: Stored,
  again: Record<'original' | 'jpeg', () => Promise<Buffer>>,
): Picture {
  const { original, preview, takesOriginal } = stored
  const isRead = deps.rekognitionSource === 's3'
  return pictureOf(
    takesOriginal,
    async () => (isRead ? inS3(original) : { Bytes: await again.original() }),
    async () =>
      isRead && preview !== undefined && isRendition(preview) ? inS3(preview) : { Bytes: await again.jpeg() },
    async () => withoutPosition(deps, stored),
  )
}

/** The position may have been read before the switch was set. */
function withoutPosition({ stripGps }: ProcessDeps, stored: Stored): Stored {
  if (!stripGps || stored.metadata?.gps === undefined) return stored
  const { gps: _, ...metadata } = stored.metadata
  return { ...stored, metadata }
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
    const asked = new GetObjectCommand({ Bucket: bucket, Key })
    const { Body, ContentLength, ContentType } = await s3.send(asked, options)
    if (Body === undefined) throw new Error('S3 answered without a body.')
    const stream = Body as Readable
    // The page of a proxy in between, say, is no verdict on the image. No object of ours is stored as text.
    if (ContentType?.startsWith('text/')) {
      stream.destroy()
      throw new Error(`What answered for S3 has sent a page (${ContentType}).`)
    }
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
