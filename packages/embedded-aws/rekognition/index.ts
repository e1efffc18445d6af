import { createHash } from 'node:crypto'
import { MOST_SIDE, NotUsable, type Vision } from '../../vision/index.ts'
import { type Clock, machineClock } from '../clock.ts'
import { AwsError, type JsonService } from '../json.ts'
import { invalidFormat, invalidParameters, tooLarge, Unreadable } from './errors.ts'
import { type OpenImages, type Picture, type ReadObject, readImage } from './images.ts'
import { measure, SHARPNESS_SIDE } from './measure.ts'
import type { Request, Seen } from './operation.ts'
import { detectFaces } from './operations/detect-faces.ts'
import { detectLabels } from './operations/detect-labels.ts'
import { detectModerationLabels } from './operations/detect-moderation-labels.ts'
import { detectText } from './operations/detect-text.ts'
import type { Recall } from './recordings.ts'

/**
 * A stand-in for Amazon Rekognition: its protocol, its limits and its refusals, without its models. What it answers is
 * seen by open models where there are any, and the rest is measured from the pixels; the model version says which.
 * Limits: Rekognition developer guide, "Guidelines and quotas"; ranges of parameters: the service's API model.
 */
const OPERATIONS = new Map<string, (input: unknown) => Request>([
  ['DetectLabels', detectLabels],
  ['DetectFaces', detectFaces],
  ['DetectModerationLabels', detectModerationLabels],
  ['DetectText', detectText],
])

/** Documented for labels and moderation alone; the others have it here too, which bounds what is decoded. */
const MAX_SIDE = 10_000
/** Images whose measurements are kept for a question that comes a little later: a few KB each. */
const KEPT_IMAGES = 100

export interface RekognitionOptions {
  readObject: ReadObject
  openImage: OpenImages
  /**
   * Calls a second of each operation, as Amazon's quotas are; a token bucket that holds one second's worth lets a burst of
   * that size through, then the rate. Every call takes a token, also one that is refused later.
   */
  tps?: number | undefined
  /** The least time until an answer or a refusal; being throttled takes no time. */
  latencyMs?: number | undefined
  clock?: Clock
  /** What the real service says, where that is known; the rest is seen by models, or measured. */
  recall?: Recall | undefined
  vision?: Vision | undefined
  /** Hears, in a sentence, that the models cannot be used: from then on all is measured. */
  onVisionLost?: ((why: string) => void) | undefined
  /** Hears that the models of text cannot be used: from then on no text is found. */
  onTextLost?: ((why: string) => void) | undefined
  /** Hears that the model of moderation cannot be used, or is not installed: from then on nothing is looked for. */
  onModerationLost?: ((why: string) => void) | undefined
}

export function createRekognition(options: RekognitionOptions): JsonService {
  const { readObject, openImage, recall, tps, latencyMs = 0, clock = machineClock } = options
  const hashOf = hashing()
  const look = oncePerImage(hashOf, (bytes) => measureImage(bytes, openImage))
  const withModels = <T>(
    ask: ((picture: Picture) => Promise<T>) | undefined,
    onLost: ((why: string) => void) | undefined,
  ) => {
    let usable = ask
    return oncePerImage(hashOf, async (bytes) => {
      if (usable === undefined) return undefined
      const picture = await (await openImage(bytes)).pixels(MOST_SIDE)
      try {
        return await usable?.(picture)
      } catch (error) {
        if (!(error instanceof NotUsable)) throw error
        if (usable !== undefined) onLost?.(error.message)
        usable = undefined
        return undefined
      }
    })
  }
  const see = withModels(options.vision?.see, options.onVisionLost)
  const readText = withModels(options.vision?.read, options.onTextLost)
  const moderate = withModels(options.vision?.moderate, options.onModerationLost)
  const takesToken = new Map(
    tps === undefined ? [] : [...OPERATIONS.keys()].map((name) => [name, tokenBucket(tps, clock.elapsed)]),
  )

  return async (name, input) => {
    const parse = OPERATIONS.get(name)
    if (!parse) {
      throw new AwsError(
        'UnknownOperationException',
        `${name} is not served by the embedded Rekognition, which has ${[...OPERATIONS.keys()].join(', ')}`,
      )
    }
    if (takesToken.get(name)?.() === false) {
      throw new AwsError('ProvisionedThroughputExceededException', 'Provisioned Rate exceeded.')
    }
    const due = clock.sleep(latencyMs)
    try {
      const request = parse(input)
      const { Image: _, ...asked } = input
      const bytes = await readImage(request.image, readObject)
      const recalled = await recall?.(name, asked, bytes)
      if (recalled !== undefined) return recalled
      const seen = await look(bytes)
      const sight = request.asks === 'sight' ? await see(bytes) : undefined
      const reading = request.asks === 'reading' ? await readText(bytes) : undefined
      const moderation = request.asks === 'moderation' ? await moderate(bytes) : undefined
      return request.respond({ ...seen, sight, reading, moderation })
    } finally {
      await due
    }
  }
}

function tokenBucket(perSecond: number, now: () => number): () => boolean {
  const capacity = Math.max(1, perSecond)
  let tokens = capacity
  let filledAt = now()
  return () => {
    const at = now()
    tokens = Math.min(capacity, tokens + (Math.max(0, at - filledAt) / 1000) * perSecond)
    filledAt = at
    if (tokens < 1) return false
    tokens -= 1
    return true
  }
}

/** Of bytes that several ask for, once. */
function hashing(): (bytes: Uint8Array) => string {
  const hashes = new WeakMap<Uint8Array, string>()
  return (bytes) => {
    const hash = hashes.get(bytes) ?? createHash('sha256').update(bytes).digest('hex')
    hashes.set(bytes, hash)
    return hash
  }
}

/**
 * Every operation has to read an image through, to refuse a damaged one; and a worker asks several at a time. Therefore
 * each image is looked at once for all who ask for the same bytes at about the same time.
 */
function oncePerImage<T>(
  hashOf: ReturnType<typeof hashing>,
  work: (bytes: Uint8Array) => Promise<T>,
): (bytes: Uint8Array) => Promise<T> {
  const done = new Map<string, Promise<T>>()
  return (bytes) => {
    const key = hashOf(bytes)
    const known = done.get(key)
    if (known !== undefined) return known
    const working = work(bytes)
    done.set(key, working)
    working.catch(() => done.delete(key))
    const [oldest = key] = done.keys()
    if (done.size > KEPT_IMAGES) done.delete(oldest)
    return working
  }
}

/** What there is to measure, or the service's refusal of the image. */
async function measureImage(bytes: Uint8Array, openImage: OpenImages): Promise<Seen> {
  try {
    const { width, height, pixels } = await openImage(bytes)
    if (Math.max(width, height) > MAX_SIDE) {
      throw tooLarge(
        `Input image dimensions ${width} x ${height} exceed maximum dimension size of ${MAX_SIDE} pixels`,
      )
    }
    return { width, height, measured: await measure(await pixels(SHARPNESS_SIDE)) }
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error
    if (error.why === 'too small') throw invalidParameters()
    // Also what no worker would send: the service takes it, and the memory of this machine may not.
    throw error.why === 'too many pixels' ? tooLarge() : invalidFormat()
  }
}
