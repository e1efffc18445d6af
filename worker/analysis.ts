import {
  DetectFacesCommand,
  DetectLabelsCommand,
  ImageTooLargeException,
  InvalidImageFormatException,
  InvalidParameterException,
  InvalidS3ObjectException,
  type RekognitionClient,
  type Image as RekognitionImage,
  RekognitionServiceException,
} from '@aws-sdk/client-rekognition'
import { type CompletedImage, faceSchema, labelSchema } from '../shared/image.ts'
import { Verdict } from './verdict.ts'

export type Analysis = Pick<
  CompletedImage,
  'rekognitionLabels' | 'rekognitionFaces' | 'labelModelVersion' | 'labels' | 'faceCount'
>

/**
 * Labels and faces of one image, side by side: two paid calls. Boxes are fractions of the upright picture.
 *
 * @param image the object in S3 (JPEG or PNG, 80 to 10,000 px a side, ≤ 15 MB) or its bytes (≤ 5 MB)
 * @throws Verdict ANALYSIS_REFUSED where Rekognition refuses the image itself, ORIGINAL_MISSING where S3 has none
 */
export async function analyse(
  rekognition: RekognitionClient,
  image: RekognitionImage,
  settings: { minConfidence: number; maxLabels: number },
): Promise<Analysis> {
  const calls = await Promise.allSettled([
    rekognition.send(
      new DetectLabelsCommand({
        Image: image,
        MinConfidence: settings.minConfidence,
        MaxLabels: settings.maxLabels,
      }),
    ),
    // Without these Rekognition leaves emotions, age and gender out. ALL would triple the size for nothing shown.
    rekognition.send(
      new DetectFacesCommand({ Image: image, Attributes: ['DEFAULT', 'AGE_RANGE', 'GENDER', 'EMOTIONS'] }),
    ),
  ])
  const [labels, faces] = calls
  if (labels.status === 'rejected') throw translate(labels.reason)
  if (faces.status === 'rejected') throw translate(faces.reason)
  const rekognitionLabels = labelSchema.array().parse(labels.value.Labels ?? [])
  const rekognitionFaces = faceSchema.array().parse(faces.value.FaceDetails ?? [])
  return {
    rekognitionLabels,
    rekognitionFaces,
    labelModelVersion: labels.value.LabelModelVersion ?? 'unknown',
    labels: rekognitionLabels.map((label) => label.Name),
    faceCount: rekognitionFaces.length,
  }
}

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
  // Also what a bucket in another region or a missing right looks like, so the caller looks whether it is there.
  if (error instanceof InvalidS3ObjectException) return new ObjectUnreadable(error)
  return error
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
