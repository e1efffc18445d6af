import {
  DetectFacesCommand,
  DetectLabelsCommand,
  ImageTooLargeException,
  InvalidImageFormatException,
  InvalidParameterException,
  InvalidS3ObjectException,
  ProvisionedThroughputExceededException,
  type RekognitionClient,
  type Image as RekognitionImage,
  RekognitionServiceException,
  ThrottlingException,
} from '@aws-sdk/client-rekognition'
import {
  type CompletedImage,
  faceSchema,
  type Kept,
  labelSchema,
  type RekognitionFace,
  Verdict,
} from '../shared/image.ts'
import { type Limiter, OutOfTime } from './limiter.ts'

export interface Rekognition {
  rekognition: RekognitionClient
  /**
   * Shared by all batches of this process and by both operations. Amazon counts each operation by itself; but an image
   * makes one call of each, in turn, so what is right for both together is right for each.
   */
  limiter: Pick<Limiter, 'run'>
  minConfidence: number
  maxLabels: number
}

/** How long the work on an image may take. */
export interface Time {
  /** Milliseconds since 1970 at which it is broken off. */
  until: number
  /** Aborted then. */
  signal: AbortSignal
}

export type Analysis = Pick<
  CompletedImage,
  'rekognitionLabels' | 'rekognitionFaces' | 'labelModelVersion' | 'labels' | 'faceCount'
>

/**
 * Labels and faces of one image, side by side: two paid calls. Boxes are fractions of the upright picture.
 *
 * @param image the object in S3 (JPEG or PNG, 80 to 10,000 px a side, ≤ 15 MB) or its bytes (≤ 5 MB)
 * @param kept what is known from an attempt before; filled with each answer that comes, so that no call is paid twice
 * @throws Verdict ANALYSIS_REFUSED where Rekognition refuses the image itself; Throttled; ObjectUnreadable
 */
export async function analyse(
  deps: Rekognition,
  image: RekognitionImage,
  kept: Kept,
  time: Time,
): Promise<Analysis> {
  const inTurn = <T>(call: () => Promise<T>): Promise<T> => deps.limiter.run(call, isThrottling, time.until)
  const [labels, faces] = await Promise.allSettled([
    kept.labels ?? inTurn(() => detectLabels(deps, image, time)),
    kept.faces ?? inTurn(() => detectFaces(deps, image, time)),
  ])
  if (labels.status === 'fulfilled') kept.labels = labels.value
  if (faces.status === 'fulfilled') kept.faces = faces.value
  if (labels.status === 'fulfilled' && faces.status === 'fulfilled') {
    return {
      ...labels.value,
      rekognitionFaces: faces.value,
      labels: labels.value.rekognitionLabels.map((label) => label.Name),
      faceCount: faces.value.length,
    }
  }
  const errors = [labels, faces].flatMap((call) =>
    call.status === 'rejected' ? [translate(call.reason)] : [],
  )
  // A verdict is final whatever else went wrong; and only an attempt that met nothing but throttling does not count.
  throw (
    errors.find((error) => error instanceof Verdict) ??
    errors.find((error) => !(error instanceof Throttled)) ??
    errors[0]
  )
}

async function detectLabels(
  { rekognition, minConfidence, maxLabels }: Rekognition,
  image: RekognitionImage,
  { signal }: Time,
): Promise<NonNullable<Kept['labels']>> {
  const answer = await rekognition.send(
    new DetectLabelsCommand({ Image: image, MinConfidence: minConfidence, MaxLabels: maxLabels }),
    { abortSignal: signal },
  )
  return {
    rekognitionLabels: labelSchema.array().parse(answer.Labels ?? []),
    labelModelVersion: answer.LabelModelVersion ?? 'unknown',
  }
}

async function detectFaces(
  { rekognition }: Rekognition,
  image: RekognitionImage,
  { signal }: Time,
): Promise<RekognitionFace[]> {
  // Without these Rekognition leaves emotions, age and gender out. ALL would triple the size for nothing shown.
  const answer = await rekognition.send(
    new DetectFacesCommand({ Image: image, Attributes: ['DEFAULT', 'AGE_RANGE', 'GENDER', 'EMOTIONS'] }),
    { abortSignal: signal },
  )
  return faceSchema.array().parse(answer.FaceDetails ?? [])
}

const isThrottling = (error: unknown): boolean =>
  error instanceof ProvisionedThroughputExceededException || error instanceof ThrottlingException

/** Rekognition's findings on the image become verdicts; throttling, time-outs and missing rights stay what they are. */
function translate(error: unknown): unknown {
  if (
    error instanceof InvalidImageFormatException ||
    error instanceof ImageTooLargeException ||
    error instanceof InvalidParameterException ||
    // Not in the service's model, but what it answers to bytes over its limit.
    (error instanceof RekognitionServiceException && error.name === 'ValidationException')
  ) {
    return new Verdict('ANALYSIS_REFUSED', `Rekognition refused the image: ${error.name}.`, error)
  }
  if (isThrottling(error) || error instanceof OutOfTime) return new Throttled(error)
  // Also what a bucket in another region or a missing right looks like, so the caller looks whether it is there.
  if (error instanceof InvalidS3ObjectException) return new ObjectUnreadable(error)
  return error
}

/** More was asked of Rekognition than its quota allows: no fault of the image, and no reason to give it up. */
export class Throttled extends Error {
  /** How often that has happened to this image, this time included. */
  times = 1
  constructor(cause: unknown) {
    super('Rekognition has been asked too much.', { cause })
    this.name = 'Throttled'
  }
}

/** Rekognition could not read the object: it is gone, or the set-up is wrong. */
export class ObjectUnreadable extends Error {
  constructor(cause: unknown) {
    super('Rekognition cannot read the object: is the bucket in its region, and may the worker read it?', {
      cause,
    })
    this.name = 'ObjectUnreadable'
  }
}
