import * as z from 'zod'
import { CONTENT_TYPES } from '../packages/image-guard/format.ts'

/**
 * The record of an image: one schema for the stored item, the types and what the API shows.
 * The item's key is `imageId`, a version 7 UUID, which sorts by its time of creation (RFC 9562, section 5.7).
 */
export const imageIdSchema = z.uuid({ version: 'v7' }).brand<'ImageId'>()
export type ImageId = z.infer<typeof imageIdSchema>

export const STATUSES = ['pending', 'processing', 'completed', 'failed', 'awaiting_upload'] as const
export const statusSchema = z.enum(STATUSES)
export type Status = z.infer<typeof statusSchema>

/**
 * Why an image failed. The first six are verdicts on the image itself: they come on the first attempt, are
 * final, and cost no paid call. EXHAUSTED means that transient trouble outlasted every attempt.
 */
export const FAILURE_CODES = [
  'CORRUPT_IMAGE',
  'UNSUPPORTED_FORMAT',
  'IMAGE_TOO_SMALL',
  'TOO_MANY_PIXELS',
  'ORIGINAL_MISSING',
  'ANALYSIS_REFUSED',
  'EXHAUSTED',
] as const
export const failureSchema = z.object({ code: z.enum(FAILURE_CODES), message: z.string() })
export type Failure = z.infer<typeof failureSchema>

/** What an attempt met. Its message is for operators alone: AWS's own names buckets and roles. */
const troubleSchema = z.object({ attempt: z.int(), name: z.string(), message: z.string() })
export type Trouble = z.infer<typeof troubleSchema>

/** A finding about the image itself, which is final. Any other error is trouble of the surroundings, and is tried again. */
export class Verdict extends Error {
  readonly failure: Failure
  constructor(code: Exclude<Failure['code'], 'EXHAUSTED'>, message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'Verdict'
    this.failure = { code, message }
  }
}

const timestamp = z.iso.datetime()
const pixels = z.int().positive()
const text = z.string().optional()
const hash = z.string().regex(/^[0-9a-f]{64}$/)
const place = { bucket: z.string(), key: z.string() }

export const originalSchema = z.object({
  ...place,
  contentType: z.enum(CONTENT_TYPES),
  bytes: z.int().positive(),
  /** Of the upright picture (EXIF orientation applied); known once the worker has read it. */
  width: pixels.optional(),
  height: pixels.optional(),
  /** Of an image that was uploaded to S3 directly it is known once the worker has read it. */
  sha256: hash.optional(),
  filename: z.string().optional(),
})
export type Original = z.infer<typeof originalSchema>

export const thumbnailSchema = z.object({
  ...place,
  contentType: z.literal('image/jpeg'),
  bytes: z.int().positive(),
  width: pixels,
  height: pixels,
})
/** The whole upright picture, at most 1,600 pixels a side. None where previews are off (PREVIEW in config.ts). */
export const previewSchema = z.object(thumbnailSchema.shape)

/** As fractions of the upright picture's width and height. */
export const boundingBoxSchema = z.looseObject({
  Left: z.number().optional(),
  Top: z.number().optional(),
  Width: z.number().optional(),
  Height: z.number().optional(),
})

/** Rekognition's own shapes, kept whole: fields that are not named here pass through untouched. */
export const labelSchema = z.looseObject({
  Name: z.string(),
  Confidence: z.number(),
  Parents: z.array(z.looseObject({ Name: z.string().optional() })).optional(),
  Categories: z.array(z.looseObject({ Name: z.string().optional() })).optional(),
  Instances: z
    .array(z.looseObject({ BoundingBox: boundingBoxSchema.optional(), Confidence: z.number().optional() }))
    .optional(),
})
export type RekognitionLabel = z.infer<typeof labelSchema>

export const faceSchema = z.looseObject({
  BoundingBox: boundingBoxSchema.optional(),
  Confidence: z.number().optional(),
  AgeRange: z.looseObject({ Low: z.number().optional(), High: z.number().optional() }).optional(),
  Gender: z.looseObject({ Value: z.string().optional(), Confidence: z.number().optional() }).optional(),
  Emotions: z
    .array(z.looseObject({ Type: z.string().optional(), Confidence: z.number().optional() }))
    .optional(),
})
export type RekognitionFace = z.infer<typeof faceSchema>

const moderationLabelSchema = z.looseObject({ Name: z.string(), Confidence: z.number() })
const textDetectionSchema = z.looseObject({ DetectedText: z.string() })

/** What Rekognition can find out about an image, each by one operation, which is paid. */
export const PAID_ANALYSES = ['labels', 'faces', 'moderation', 'text'] as const
export type PaidAnalysis = (typeof PAID_ANALYSES)[number]
/** What can be found out about an image: by Rekognition, for faces also where its labels show a person only; and in its file. */
export const ANALYSES = [...PAID_ANALYSES, 'faces-when-person', 'metadata', 'gps'] as const
export const analysisNameSchema = z.enum(ANALYSES)
export type AnalysisName = z.infer<typeof analysisNameSchema>

export const paidAnalyses = (analyses: AnalysisName[]): PaidAnalysis[] =>
  PAID_ANALYSES.filter(
    (name) => analyses.includes(name) || (name === 'faces' && analyses.includes('faces-when-person')),
  )

/** What the Exif block of the image's own file says; nothing in it is checked against the picture. */
export const metadataSchema = z.object({
  /** The camera's local time, with its offset from UTC where the file has one. */
  capturedAt: z
    .string()
    .regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)?$/)
    .optional(),
  make: z.string().optional(),
  model: z.string().optional(),
  lens: z.string().optional(),
  software: z.string().optional(),
  /** Seconds. */
  exposureTime: z.number().optional(),
  fNumber: z.number().optional(),
  iso: z.int().optional(),
  /** Millimetres, of the lens itself. */
  focalLength: z.number().optional(),
  /** As it is stored: the record's width and height are of the upright picture. */
  orientation: z.int().min(1).max(8).optional(),
  /** Only where `gps` was asked for. Degrees (WGS 84), and metres above sea level. */
  gps: z
    .object({
      latitude: z.number().min(-90).max(90),
      longitude: z.number().min(-180).max(180),
      altitude: z.number().optional(),
    })
    .optional(),
})
export type Metadata = z.infer<typeof metadataSchema>

/** Rekognition's answers, by analysis, as records and the object `analysis` have them. */
export const ANSWERS = {
  labels: z.object({ rekognitionLabels: z.array(labelSchema), labelModelVersion: z.string() }),
  faces: z.object({ rekognitionFaces: z.array(faceSchema) }),
  moderation: z.object({
    rekognitionModerationLabels: z.array(moderationLabelSchema),
    moderationModelVersion: z.string(),
  }),
  text: z.object({ rekognitionTextDetections: z.array(textDetectionSchema), textModelVersion: z.string() }),
}
/** What is in the object `analysis`: Rekognition's answers, whole. */
export const analysisSchema = z.object({
  ...ANSWERS.labels.partial().shape,
  ...ANSWERS.faces.partial().shape,
  ...ANSWERS.moderation.partial().shape,
  ...ANSWERS.text.partial().shape,
  /** The labels show no person, so faces were not asked for. */
  facesSkipped: z.literal(true).optional(),
})
export type Answers = z.infer<typeof analysisSchema>
const made = {
  thumbnail: thumbnailSchema,
  preview: previewSchema.optional(),
  metadata: metadataSchema.optional(),
}
const storedSchema = z.object({ original: originalSchema, ...made, takesOriginal: z.boolean() })
/** What is made of an original, and is in the bucket; and whether Rekognition takes the original itself. */
export type Stored = z.infer<typeof storedSchema>
/** What outlives an attempt: answers of Rekognition, and what was stored. */
const keptSchema = z.object({ ...ANSWERS, stored: storedSchema }).partial()
export type Kept = z.infer<typeof keptSchema>

const calls = z.int().min(1).optional()
/** Calls of Rekognition that are billed, by analysis. */
export const paidCallsSchema = z.object({ labels: calls, faces: calls, moderation: calls, text: calls })
export type PaidCalls = z.infer<typeof paidCallsSchema>

const everyImage = z.object({
  /** Of the record's form: 2 where its results are packed; none in those of before there were versions. */
  version: z.int().min(1).max(2).optional(),
  imageId: imageIdSchema,
  owner: z.string().min(1),
  createdAt: timestamp,
  updatedAt: timestamp,
  /** How often a worker has taken the image up. */
  attempts: z.int().min(0),
  epoch: z.int().min(1),
  original: originalSchema,
  /** Which of them this image gets. */
  analyses: z.array(analysisNameSchema),
  /** Seconds since 1970 after which DynamoDB deletes the record (time to live), where there is a retention period. */
  expiresAt: z.int().optional(),
  /** Whether its original came, or is to come, by a presigned form. */
  uploaded: z.literal(true).optional(),
  /** Of the idempotency key that it was submitted with. */
  keyHash: z.string().optional(),
  /** The request that it was submitted by, for log and traces; the API does not show it. */
  origin: z.object({ requestId: z.string(), traceId: text, spanId: text }).optional(),
  /** Milliseconds since 1970 at which this run was asked for; of an upload whose bytes are known, when it came. */
  submittedAt: z.number(),
  /** Milliseconds since 1970 from which the sweeper looks after the image; only until its event is acknowledged. */
  sweepAt: z.number().optional(),
  /** The same, where it is later by now: `sweepAt` is a key of an index, and costs more to change. */
  dueAt: z.number().optional(),
  /** How often the sweeper has sent a job since a worker took the image up. */
  swept: z.int().min(0).optional(),
  /** The epoch whose event EventBridge has acknowledged. */
  announced: z.int().min(1).optional(),
  /** How many of the attempts do not count: Rekognition was asked too much, or the worker's process was to end. */
  throttled: z.int().min(0).optional(),
  /** What an interrupted attempt has already been given by Rekognition, and paid for; and what it has stored. */
  kept: keptSchema.optional(),
  /** What this run has paid for, in all its attempts; what a worker had paid for that died is not among it. */
  paidCalls: paidCallsSchema.optional(),
  /** Of the last attempt of this run that met any; once it has ended, of EXHAUSTED alone. */
  trouble: troubleSchema.optional(),
})

/** What every object in the bucket has. */
const objectSchema = thumbnailSchema.pick({ bucket: true, key: true, bytes: true })

/** What only a finished analysis has. `labels` and `faceCount` repeat the results in a form that lists can carry. */
const results = {
  completedAt: timestamp,
  ...made,
  ...analysisSchema.shape,
  labels: z.array(z.string()).optional(),
  faceCount: z.int().min(0).optional(),
  /** Whether the results are those of another image of this owner with the same bytes: nothing was paid for them. */
  reused: z.literal(true).optional(),
  /** Where its labels are found: 2 is the table of labels, and none the index of the version before. */
  index: z.literal(2).optional(),
  /** Where the results are when they are too large for an item; then only their outlines are above. */
  analysis: objectSchema.extend({ contentType: z.literal('application/json') }).optional(),
}

/** Its original is to be uploaded to S3 directly; until then `original` says what was announced. */
const awaitedImage = everyImage.extend({ status: z.literal('awaiting_upload') })
const pendingImage = everyImage.extend({ status: z.literal('pending') })
const processingImage = everyImage.extend({
  status: z.literal('processing'),
  /** Who holds the image. Every later write of that worker is conditional on it. */
  leaseId: z.string(),
  /** Milliseconds since 1970. From then on another worker may take the image over. */
  leaseUntil: z.number(),
  /** Why no worker is at it, and until when: Rekognition's quota, the month's budget, or an attempt that met trouble. */
  waits: z.object({ for: z.enum(['quota', 'budget', 'retry']), until: timestamp }).optional(),
  /** Calls a second that the last worker allowed itself, by analysis, where the quota is what it waits for: for operators. */
  rates: z.record(z.string(), z.number()).optional(),
  /** Whether it has waited for the budget: that it is old says nothing then. */
  parked: z.literal(true).optional(),
})
const completedImage = everyImage.extend({ status: z.literal('completed'), ...results })
const failedImage = everyImage.extend({
  status: z.literal('failed'),
  completedAt: timestamp,
  failure: failureSchema,
})

export const imageSchema = z.discriminatedUnion('status', [
  awaitedImage,
  pendingImage,
  processingImage,
  completedImage,
  failedImage,
])
export type Image = z.infer<typeof imageSchema>
export type NewImage = z.infer<typeof pendingImage> | z.infer<typeof awaitedImage>
export type ProcessingImage = z.infer<typeof processingImage>
export type CompletedImage = z.infer<typeof completedImage>
export type FinishedImage = CompletedImage | z.infer<typeof failedImage>

export const isFinished = (image: Image): image is FinishedImage =>
  image.status === 'completed' || image.status === 'failed'

/** It was given up for transient trouble, and may be tried again. */
export const isExhausted = ({ status, failure }: { status: Status; failure?: Failure }): boolean =>
  status === 'failed' && failure?.code === 'EXHAUSTED'

/** Where a presigned upload lands. The worker moves it to `originals/`: no holder of the form changes what was looked at. */
export const UPLOADS = 'uploads/'
export const uploadKey = (imageId: ImageId): string => `${UPLOADS}${imageId}`
export const originalKey = (imageId: ImageId): string => `originals/${imageId}`
export const thumbnailKey = (imageId: ImageId): string => `thumbnails/${imageId}.jpg`
export const previewKey = (imageId: ImageId): string => `previews/${imageId}.jpg`
export const analysisKey = (imageId: ImageId): string => `analyses/${imageId}.json`
/** Every object that an image may have. */
export const objectKeys = (imageId: ImageId): string[] =>
  [uploadKey, originalKey, thumbnailKey, previewKey, analysisKey].map((keyOf) => keyOf(imageId))
