/**
 * What the API answers, as plain types: the package needs no other one. The repository's tests compare
 * them with the schemas that the API itself uses (test/api/client-types.ts).
 */

export type Status = 'awaiting_upload' | 'pending' | 'processing' | 'completed' | 'failed'
/** The first four are Amazon Rekognition's and are paid; the others are in the file. `gps` comes with `metadata`. */
export type AnalysisName =
  | 'labels'
  | 'faces'
  | 'moderation'
  | 'text'
  | 'faces-when-person'
  | 'metadata'
  | 'gps'
export type ContentType =
  | 'image/jpeg'
  | 'image/png'
  | 'image/webp'
  | 'image/gif'
  | 'image/avif'
  | 'image/heic'

/** Why an image failed. All but `EXHAUSTED` are final: another try ends the same way. */
export type FailureCode =
  | 'CORRUPT_IMAGE'
  | 'UNSUPPORTED_FORMAT'
  | 'IMAGE_TOO_SMALL'
  | 'TOO_MANY_PIXELS'
  | 'ORIGINAL_MISSING'
  | 'ANALYSIS_REFUSED'
  | 'EXHAUSTED'
export interface Failure {
  code: FailureCode
  message: string
}

/** The codes of the API's errors. */
export type ApiErrorCode =
  | 'EMPTY_IMAGE'
  | 'INVALID_JSON'
  | 'INVALID_BASE64'
  | 'INVALID_MULTIPART'
  | 'MISSING_IMAGE'
  | 'MULTIPLE_IMAGES'
  | 'INVALID_PARAMETER'
  | 'UNAUTHENTICATED'
  | 'IMAGE_NOT_FOUND'
  | 'NOT_FOUND'
  | 'METHOD_NOT_ALLOWED'
  | 'NOT_FAILED'
  | 'PRECONDITION_FAILED'
  | 'IMAGE_TOO_LARGE'
  | 'UNSUPPORTED_FORMAT'
  | 'UNSUPPORTED_MEDIA_TYPE'
  | 'IDEMPOTENCY_KEY_REUSED'
  | 'TOO_MANY_REQUESTS'
  | 'BUDGET_EXHAUSTED'
  | 'UNAVAILABLE'

export interface Original {
  bucket: string
  key: string
  contentType: ContentType
  bytes: number
  /** Pixels of the upright picture, once a worker has read it. */
  width?: number | undefined
  height?: number | undefined
  sha256?: string | undefined
  filename?: string | undefined
}

/** A JPEG in the bucket. */
export interface Thumbnail {
  bucket: string
  key: string
  contentType: 'image/jpeg'
  bytes: number
  width: number
  height: number
}

/** In parts of the upright picture's width and height. */
export interface BoundingBox {
  Left?: number | undefined
  Top?: number | undefined
  Width?: number | undefined
  Height?: number | undefined
  [more: string]: unknown
}

interface Named {
  Name?: string | undefined
  [more: string]: unknown
}

/** As Amazon Rekognition gives it; what is not named here is there too. Confidences are in per cent. */
export interface RekognitionLabel {
  Name: string
  Confidence: number
  Parents?: Named[] | undefined
  Categories?: Named[] | undefined
  Instances?:
    | {
        BoundingBox?: BoundingBox | undefined
        Confidence?: number | undefined
        [more: string]: unknown
      }[]
    | undefined
  [more: string]: unknown
}

export interface RekognitionFace {
  BoundingBox?: BoundingBox | undefined
  Confidence?: number | undefined
  AgeRange?: { Low?: number | undefined; High?: number | undefined; [more: string]: unknown } | undefined
  Gender?:
    | { Value?: string | undefined; Confidence?: number | undefined; [more: string]: unknown }
    | undefined
  Emotions?:
    | { Type?: string | undefined; Confidence?: number | undefined; [more: string]: unknown }[]
    | undefined
  [more: string]: unknown
}

export interface RekognitionModerationLabel {
  Name: string
  Confidence: number
  [more: string]: unknown
}

export interface RekognitionTextDetection {
  DetectedText: string
  [more: string]: unknown
}

/** What the Exif block of the file says. */
export interface Metadata {
  /** The camera's local time, with its offset from UTC where the file has one. */
  capturedAt?: string | undefined
  make?: string | undefined
  model?: string | undefined
  lens?: string | undefined
  software?: string | undefined
  /** Seconds. */
  exposureTime?: number | undefined
  fNumber?: number | undefined
  iso?: number | undefined
  /** Millimetres. */
  focalLength?: number | undefined
  orientation?: number | undefined
  /** Degrees (WGS 84), and metres above sea level. */
  gps?: { latitude: number; longitude: number; altitude?: number | undefined } | undefined
}

interface Record {
  imageId: string
  /** ISO 8601, UTC. */
  createdAt: string
  updatedAt: string
  /** How often a worker has begun with it. */
  attempts: number
  original: Original
}

type Unfinished = 'awaiting_upload' | 'pending' | 'processing'

/** What was found out, each part where it was asked for. */
interface Results {
  rekognitionLabels?: RekognitionLabel[] | undefined
  rekognitionFaces?: RekognitionFace[] | undefined
  rekognitionModerationLabels?: RekognitionModerationLabel[] | undefined
  rekognitionTextDetections?: RekognitionTextDetection[] | undefined
  labelModelVersion?: string | undefined
  moderationModelVersion?: string | undefined
  textModelVersion?: string | undefined
}

/** Calls of Rekognition that were billed for this run of the image; `{}` where none was. */
export interface PaidCalls {
  labels?: number | undefined
  faces?: number | undefined
  moderation?: number | undefined
  text?: number | undefined
}

/** Why no worker is at an image, and until when: a quota, the month's budget, or trouble after which it is tried again. */
export interface Waits {
  for: 'quota' | 'budget' | 'retry'
  /** ISO 8601, UTC. */
  until: string
}

/** A record. Its properties depend on its `status`. */
export type Image =
  | (Record & { status: Exclude<Unfinished, 'processing'>; analyses: AnalysisName[] })
  | (Record & { status: 'processing'; analyses: AnalysisName[]; waits?: Waits | undefined })
  | (Record &
      Results & {
        status: 'completed'
        completedAt: string
        analyses: AnalysisName[]
        /** At most 128 × 128 pixels. */
        thumbnail: Thumbnail
        /** The whole picture, at most 1,600 pixels a side; absent where previews are off. */
        preview?: Thumbnail | undefined
        metadata?: Metadata | undefined
        /** Where the results are when they are too large for the record, which has their outlines then. */
        analysis?: { bucket: string; key: string; contentType: 'application/json'; bytes: number } | undefined
        /** The labels show no person, so faces were not asked for. */
        facesSkipped?: true | undefined
        /** The results are those of another image with the same bytes; nothing was paid for them. */
        reused?: true | undefined
        paidCalls?: PaidCalls | undefined
      })
  | (Record & {
      status: 'failed'
      completedAt: string
      analyses: AnalysisName[]
      paidCalls?: PaidCalls | undefined
      failure: Failure
    })
export type FinishedImage = Extract<Image, { status: 'completed' | 'failed' }>

/** A record as lists show it: names of labels and the number of faces in place of the results. */
export type ListedImage =
  | (Record & { status: Unfinished })
  | (Record & {
      status: 'completed'
      completedAt: string
      thumbnail: Thumbnail
      labelModelVersion?: string | undefined
      labels?: string[] | undefined
      faceCount?: number | undefined
    })
  | (Record & { status: 'failed'; completedAt: string; failure: Failure })

/** A form for one upload to the bucket. */
export interface UploadForm {
  imageId: string
  /** Another one than `awaiting_upload` only where a request is repeated after its upload. */
  status: Status
  upload: { url: string; fields: { [name: string]: string } }
  expiresAt: string
}

/** What was announced on the event bus when an image was finished. */
export interface Event {
  source: 'image-analyzer'
  'detail-type': 'Image Analysis Completed' | 'Image Analysis Failed'
  detail: {
    version: '1'
    /** The same for each repetition of one outcome. */
    eventId: string
    imageId: string
    owner: string
    status: 'completed' | 'failed'
    epoch: number
    completedAt: string
    original: Original
    thumbnail?: Thumbnail | undefined
    labels?: string[] | undefined
    rekognitionLabels?: { Name: string; Confidence: number }[] | undefined
    faceCount?: number | undefined
    /** The strongest emotion of each face, each named once. */
    emotions?: string[] | undefined
    facesSkipped?: true | undefined
    reused?: true | undefined
    paidCalls?: PaidCalls | undefined
    failure?: Failure | undefined
  }
}
