import type * as z from 'zod'
import { type FinishedImage, imageIdSchema, originalKey, previewKey, thumbnailKey } from '../shared/image.ts'
import { EVENT_SOURCE, eventDetail } from '../shared/messages.ts'
import {
  type Accepted,
  type announcedSchema,
  type ImagePage,
  imageView,
  type jsonImageSchema,
  type LabelPage,
  listedView,
  shown,
  type UploadForm,
} from './schemas.ts'

/** What the API has really answered, shortened, for the OpenAPI document. A test holds it against the schemas. */

export const IMAGE_ID = imageIdSchema.parse('01a20f3c-366e-734c-99ed-0d5fffb2c168')
export const REQUEST_ID = 'b0c5ce6a-6f3b-4d7a-9d67-0e3f1f0f8a54'
const OTHER_ID = imageIdSchema.parse('01a20f3c-39f9-7373-aacd-3eaed2efdf41')

const submitted = {
  imageId: IMAGE_ID,
  owner: 'anonymous',
  epoch: 1,
  submittedAt: 1_795_551_934_062,
  createdAt: '2026-11-24T20:25:34.062Z',
  updatedAt: '2026-11-24T20:25:34.062Z',
  attempts: 0,
  analyses: ['labels' as const, 'faces' as const, 'metadata' as const],
  original: {
    bucket: 'image-analyzer-images',
    key: originalKey(IMAGE_ID),
    contentType: 'image/jpeg' as const,
    bytes: 61_306,
    sha256: 'a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130',
    filename: 'grace-hopper.jpg',
  },
}

const completed: FinishedImage = {
  ...submitted,
  status: 'completed',
  updatedAt: '2026-11-24T20:25:34.660Z',
  completedAt: '2026-11-24T20:25:34.660Z',
  attempts: 1,
  original: { ...submitted.original, width: 512, height: 600 },
  thumbnail: {
    bucket: 'image-analyzer-images',
    key: thumbnailKey(IMAGE_ID),
    contentType: 'image/jpeg',
    bytes: 4_952,
    width: 128,
    height: 128,
  },
  preview: {
    bucket: 'image-analyzer-images',
    key: previewKey(IMAGE_ID),
    contentType: 'image/jpeg',
    bytes: 65_103,
    width: 512,
    height: 600,
  },
  rekognitionLabels: [
    {
      Name: 'Sharp',
      Confidence: 91.8385,
      Parents: [{ Name: 'Sharpness' }],
      Categories: [{ Name: 'Stand-in Measurement' }],
      Instances: [],
    },
    {
      Name: 'Black',
      Confidence: 65.9511,
      Parents: [{ Name: 'Color' }],
      Categories: [{ Name: 'Stand-in Measurement' }],
      Instances: [
        { BoundingBox: { Left: 0.0275, Top: 0.5391, Width: 0.9725, Height: 0.4609 }, Confidence: 60.6012 },
      ],
    },
  ],
  rekognitionFaces: [],
  labelModelVersion: 'stand-in',
  metadata: {
    capturedAt: '2026-05-01T12:34:56+02:00',
    make: 'FUJIFILM',
    model: 'X-T5',
    lens: 'XF33mmF1.4 R LM WR',
    ...{ exposureTime: 0.004, fNumber: 2.8, iso: 160, focalLength: 33, orientation: 1 },
  },
  labels: ['Sharp', 'Black'],
  faceCount: 0,
}

const failed: FinishedImage = {
  ...submitted,
  imageId: OTHER_ID,
  status: 'failed',
  updatedAt: '2026-11-24T20:25:35.126Z',
  completedAt: '2026-11-24T20:25:35.126Z',
  attempts: 1,
  original: {
    ...submitted.original,
    key: originalKey(OTHER_ID),
    bytes: 30_000,
    sha256: '4b48c541392c198c14477aeecbf98a9d700804920a07359c2919bc197247432d',
    filename: 'broken.jpg',
  },
  failure: {
    code: 'CORRUPT_IMAGE',
    message: 'The image cannot be decoded: its data is damaged or cut off.',
  },
}

export const PENDING = shown(imageView, { ...submitted, status: 'pending' })
export const COMPLETED = shown(imageView, completed)
export const FAILED = shown(imageView, failed)
export const IMAGE_PAGE: ImagePage = {
  items: [shown(listedView, failed), shown(listedView, completed)],
  cursor: 'MDFhMjBmM2MtMzY2ZS03MzRjLTk5ZWQtMGQ1ZmZmYjJjMTY4',
}
export const LABEL_PAGE: LabelPage = { items: [{ name: 'Person' }, { name: 'Portrait' }] }
export const ACCEPTED: Accepted = {
  imageId: IMAGE_ID,
  status: 'pending',
  message: 'The image is accepted; poll its URL or subscribe to its event.',
}

/** The smallest PNG that is analysed at all would be a page long; this one ends as IMAGE_TOO_SMALL. */
export const JSON_IMAGE: z.input<typeof jsonImageSchema> = {
  image: 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
  filename: 'dot.png',
}
export const ANNOUNCED: z.input<typeof announcedSchema> = {
  contentType: 'image/jpeg',
  bytes: 8_000_000,
  filename: 'large.jpg',
}
export const UPLOAD_FORM: UploadForm = {
  imageId: IMAGE_ID,
  status: 'awaiting_upload',
  upload: {
    url: 'http://127.0.0.1:4566/image-analyzer-images',
    fields: {
      'Content-Type': 'image/jpeg',
      bucket: 'image-analyzer-images',
      key: `uploads/${IMAGE_ID}`,
      'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
      'X-Amz-Credential': '…',
      'X-Amz-Date': '20261124T202535Z',
      Policy: '…',
      'X-Amz-Signature': '…',
    },
  },
  expiresAt: '2026-11-24T20:40:35.252Z',
}

export const COMPLETED_DETAIL = eventDetail(completed)
export const FAILED_DETAIL = eventDetail(failed)
export const ENVELOPE = {
  version: '0',
  id: '5e1b4a52-1c5c-4b8e-9b0e-7d9a3c6f2d10',
  source: EVENT_SOURCE,
  account: '000000000000',
  time: '2026-11-24T20:25:34Z',
  region: 'us-east-1',
  resources: [],
}
