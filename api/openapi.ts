import * as z from 'zod'
import { acceptedNames } from '../packages/image-guard/format.ts'
import {
  boundingBoxSchema,
  type FinishedImage,
  faceSchema,
  failureSchema,
  imageIdSchema,
  labelSchema,
  metadataSchema,
  originalKey,
  originalSchema,
  previewKey,
  previewSchema,
  STATUSES,
  thumbnailKey,
  thumbnailSchema,
} from '../shared/image.ts'
import { DETAIL_TYPES, EVENT_SOURCE, eventDetail, eventDetailSchema } from '../shared/messages.ts'
import type { Answer, Content, Described, Route } from './route.ts'
import {
  type Accepted,
  API_ERRORS,
  ApiError,
  type ApiErrorCode,
  acceptedSchema,
  analysesSchema,
  type announcedSchema,
  eventSchema,
  healthSchema,
  type ImagePage,
  idempotencyKeySchema,
  imagePageSchema,
  imageView,
  type jsonImageSchema,
  type LabelPage,
  labelPageSchema,
  listedView,
  presignedSchema,
  problemOf,
  problemSchema,
  shown,
  type UploadForm,
  uploadFormSchema,
  usualAnalyses,
} from './schemas.ts'

type Json = Record<string, unknown>

/**
 * The API as OpenAPI 3.1, whose schemas are JSON Schema 2020-12: made by zod itself, of the declarations by which the app
 * checks and answers. Made when it is asked for, not at each cold start.
 */
export function openApi(api: Described, routes: readonly Route[]): Json {
  const fill = filling(api)
  const named = namedSchemas()
  const paths: Record<string, Json> = {}
  for (const route of routes) {
    const item =
      paths[route.path] ?? (route.path.includes('{imageId}') ? { parameters: [IMAGE_PARAMETER] } : {})
    paths[route.path] = { ...item, [route.method.toLowerCase()]: operation(route, api, named, fill) }
  }
  return {
    openapi: '3.1.1',
    info: {
      title: 'Image Analyzer',
      version: '1',
      summary: 'Upload an image, get a thumbnail and what Amazon Rekognition sees in it.',
      description: introduction(api.auth),
      contact: { name: 'The operators of this deployment' },
      license: { name: 'MIT', identifier: 'MIT' },
    },
    // Relative to the document, so that it is right below any stage prefix.
    servers: [{ url: '.' }],
    security: api.auth === 'none' ? [] : [{ [api.auth]: [] }],
    tags: [
      { name: 'Images', description: 'Submit images, look at what was found in them, delete them.' },
      { name: 'About', description: ABOUT[api.auth === 'iam' ? 'signed' : 'open'] },
    ],
    paths,
    webhooks: {
      imageCompleted: webhook('completed', COMPLETED_DETAIL),
      imageFailed: webhook('failed', FAILED_DETAIL),
    },
    components: { schemas: components(named), securitySchemes: schemes(api.auth) },
  }
}

const ABOUT = {
  open: 'Open to everybody: the page, this document, the health check.',
  signed: 'The page, this document, the health check, which alone takes requests without a signature.',
}

const introduction = (auth: Described['auth']): string =>
  [
    'An image is accepted at once and analysed afterwards. Poll its URL (`?wait=20` answers as soon as it is finished) or subscribe to its event.',
    'Errors are `application/problem+json` (RFC 9457) with a stable `code`. Fields may be added to answers and events; none changes its meaning.',
    ...(auth === 'iam'
      ? ['Requests are signed with AWS Signature Version 4, for the service `execute-api`.']
      : []),
    'Unknown names are refused, never ignored: a query parameter, a field or a property with 400 `INVALID_PARAMETER`, a method with 405 `METHOD_NOT_ALLOWED` and `Allow`, a path with 404 `NOT_FOUND`. HEAD works wherever GET does.',
    'API Gateway, where it is in front, refuses in the same form: 401 and 403 `UNAUTHENTICATED`, 413 `IMAGE_TOO_LARGE`, 429 `TOO_MANY_REQUESTS`, 503 `UNAVAILABLE`.',
  ].join('\n\n')

const schemes = (auth: Described['auth']): Json => ({
  ...(auth === 'jwt' ? { jwt: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' } } : {}),
  ...(auth === 'iam'
    ? {
        iam: {
          type: 'apiKey',
          name: 'Authorization',
          in: 'header',
          description: 'AWS Signature Version 4 for the service `execute-api`.',
          'x-amazon-apigateway-authtype': 'awsSigv4',
        },
      }
    : {}),
})

type Fill = (text: string) => string

/** What a deployment settles, in the place of its name in braces. */
function filling(api: Described): Fill {
  const values: Record<string, string> = {
    formats: acceptedNames(api.heic, 'or'),
    usualAnalyses: usualAnalyses(api).join(', '),
    maxImageBytes: api.maxImageBytes.toLocaleString('en'),
    maxUploadBytes: api.maxUploadBytes.toLocaleString('en'),
    maxWaitSeconds: api.maxWaitSeconds.toLocaleString('en'),
  }
  return (text) => text.replaceAll(/\{(\w+)\}/g, (whole, name: string) => values[name] ?? whole)
}

function operation(route: Route, api: Described, named: Named, fill: Fill): Json {
  const parameters = [
    ...parametersOf(route.query, fill),
    ...Object.entries({ ...route.parameters, ...route.headers }).map(([name, description]) => ({
      name,
      ...known(name, api),
      description: fill(description),
    })),
  ]
  const isOpen = route.open === 'always' || (route.open !== undefined && api.auth !== 'iam')
  const answers = Object.entries(route.answers).map(([status, answer]) => [status, response(answer, named)])
  return {
    ...(isOpen ? { security: [] } : {}),
    tags: [route.tag],
    operationId: route.operationId,
    summary: route.summary,
    description: fill(route.description),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(route.body === undefined ? {} : { requestBody: requestBody(route.body(api), route.operationId) }),
    responses: { ...Object.fromEntries(answers), ...refusals(codesOf(route, api.auth)) },
  }
}

/** A route names the codes that it can give. Where callers are known, so are the unknown ones. */
function codesOf({ refuses = [], open }: Route, auth: Described['auth']): ApiErrorCode[] {
  const always = refuses.includes('INVALID_PARAMETER') ? [] : (['INVALID_PARAMETER'] as const)
  if (open !== undefined) return [...refuses, ...always]
  return [...refuses, ...always, ...(auth === 'none' ? [] : (['UNAUTHENTICATED'] as const)), 'UNAVAILABLE']
}

/** By their status. */
function refusals(codes: ApiErrorCode[]): Json {
  const statusOf = (code: ApiErrorCode): number => API_ERRORS[code][0]
  const statuses = [...new Set(codes.map(statusOf))]
  const byStatus = statuses.map(
    (status) => [status, codes.filter((code) => statusOf(code) === status)] as const,
  )
  return Object.fromEntries(
    byStatus.map(([status, ofStatus]) => [
      status,
      {
        description: ofStatus.map((code) => `\`${code}\`: ${API_ERRORS[code][1]}.`).join(' '),
        headers: headersOf([
          ...(status === 429 || status === 503 ? ['Retry-After'] : []),
          ...(status === 401 ? ['WWW-Authenticate'] : []),
        ]),
        content: {
          'application/problem+json': {
            schema: {
              allOf: [ref('Problem')],
              properties: { status: { const: status }, code: { enum: ofStatus } },
            },
            examples: Object.fromEntries(
              ofStatus.map((code) => [
                code,
                { value: problemOf(new ApiError(code, `${API_ERRORS[code][1]}.`), REQUEST_ID) },
              ]),
            ),
          },
        },
      },
    ]),
  )
}

/** Query parameters; those with an example are in the code that the reference shows. */
function parametersOf(schema: z.ZodObject | undefined, fill: Fill): Json[] {
  if (schema === undefined) return []
  const properties = inline(schema)['properties'] as Record<string, Json>
  return Object.entries(properties).map(([name, { description, example, ...property }]) => ({
    name,
    in: 'query',
    description: fill(String(description)),
    schema: property,
    ...(example === undefined ? {} : { example }),
  }))
}

/** What single routes read. */
function known(name: string, { analyses }: Described): Json {
  const text = { schema: { type: 'string' } }
  const all: Record<string, Json> = {
    analyses: {
      in: 'query',
      schema: inline(analysesSchema(analyses).shape.analyses),
      required: false,
      explode: false,
      example: analyses.slice(0, 2),
    },
    filename: { in: 'query', ...text, example: 'grace-hopper.jpg' },
    'Content-Disposition': { ...text, example: 'attachment; filename="grace-hopper.jpg"' },
    'Idempotency-Key': { schema: inline(idempotencyKeySchema), example: REQUEST_ID },
  }
  return { in: 'header', ...(all[name] ?? text) }
}

function requestBody(contents: Record<string, Content>, operationId: string): Json {
  const example = BODIES[operationId]
  const content = Object.entries(contents).map(([type, { schema, ...more }]) => {
    const isOurs = schema instanceof z.ZodType
    const described = isOurs ? { ...inline(schema), additionalProperties: false } : schema
    return [type, { schema: described, ...more, ...(isOurs ? { example } : {}) }]
  })
  return { required: true, content: Object.fromEntries(content) }
}

const HEADERS = {
  'X-Request-Id': {
    description:
      'Identifies this request in the log and in the `instance` of a problem. A caller may send an id of its own, which the log keeps as well.',
    schema: { type: 'string', pattern: '^[A-Za-z0-9_=-]{1,64}$' },
  },
  Location: {
    description: 'Where the image is; it may be relative to this request.',
    schema: { type: 'string', format: 'uri-reference' },
  },
  'Retry-After': {
    description: 'Seconds after which to ask again.',
    schema: { type: 'string', pattern: '^[0-9]+$' },
  },
  'Server-Timing': {
    description: 'How long the request has waited for the image, in milliseconds; it is there with `?wait`.',
    schema: { type: 'string', pattern: '^wait;dur=[0-9]+$' },
  },
  ETag: { description: 'Identifies this state of the record.', schema: { type: 'string' } },
  'WWW-Authenticate': { description: 'How to prove who you are.', schema: { type: 'string' } },
}

const ref = (name: string): Json => ({ $ref: `#/components/schemas/${name}` })

function response({ description, type, schema, example, headers, leadsTo }: Answer, named: Named): Json {
  const location =
    leadsTo &&
    `https://image-analyzer-images.s3.us-east-1.amazonaws.com/${leadsTo(IMAGE_ID)}?X-Amz-Signature=5f1d`
  const base = { description, headers: headersOf(headers, location) }
  if (type === 'text/html') return { ...base, content: { [type]: { schema: { type: 'string' } } } }
  if (schema === undefined) return base
  const id = schema instanceof z.ZodType ? named.get(schema)?.id : undefined
  const media = id === undefined ? { schema } : { schema: ref(id), ...exampleOf(id, example) }
  return { ...base, content: { 'application/json': media } }
}

function exampleOf(id: string, own: object = {}): Json {
  const one = EXAMPLES[id]
  return one === undefined || 'examples' in one ? { ...one } : { example: { ...one, ...own } }
}

/**
 * @param names one that is not always there ends with a question mark
 * @param location an example of that header
 */
const headersOf = (names: string[] = [], location?: string): Json =>
  Object.fromEntries(
    ['X-Request-Id', ...names].map((header) => {
      const name = header.replace('?', '')
      const example = name === 'Location' && location !== undefined ? { example: location } : {}
      return [name, { ...HEADERS[name as keyof typeof HEADERS], required: name === header, ...example }]
    }),
  )

/** What EventBridge sends to an API destination: its envelope, with the project's detail in it. */
function webhook(status: keyof typeof DETAIL_TYPES, detail: Json): Json {
  return {
    post: {
      operationId: `${status}Event`,
      summary: DETAIL_TYPES[status],
      description:
        'Sent by EventBridge to the targets of the rules of the bus. It comes at least once and never before its record is committed; repetitions carry the same `eventId`.',
      security: [],
      requestBody: {
        content: {
          'application/json': {
            schema: {
              type: 'object',
              properties: {
                version: { const: '0' },
                id: { type: 'string' },
                'detail-type': { const: DETAIL_TYPES[status] },
                source: { const: EVENT_SOURCE },
                account: { type: 'string' },
                time: { type: 'string', format: 'date-time' },
                region: { type: 'string' },
                resources: { type: 'array', items: { type: 'string' } },
                detail: { allOf: [ref('EventDetail')], properties: { status: { const: status } } },
              },
              required: ['id', 'detail-type', 'source', 'time', 'detail'],
            },
            example: { ...ENVELOPE, 'detail-type': DETAIL_TYPES[status], detail },
          },
        },
      },
      responses: {
        '2XX': {
          description:
            'Taken. After 401, 407, 409, 429, 5xx and 5 seconds without an answer EventBridge sends it again; after any other answer it does not.',
        },
      },
    },
  }
}

const OPTIONS: Parameters<typeof z.toJSONSchema>[1] = {
  // What comes in; answers are the same in both directions, and stay open for fields to come.
  io: 'input',
  override: ({ jsonSchema }) => {
    // A format says what zod's pattern for it says, and every integer is a safe one.
    if (jsonSchema.format !== undefined) delete jsonSchema.pattern
    if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum
  },
}

function inline(schema: z.ZodType): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, OPTIONS)
  return rest
}

type Named = ReturnType<typeof namedSchemas>

/** Every schema that has a name; where one is part of another, the other refers to it. */
function namedSchemas() {
  const named = z.registry<{ id: string; title?: string; description?: string }>()
  named.add(imageIdSchema, { id: 'ImageId', description: 'A version 7 UUID.' })
  named.add(originalSchema, {
    id: 'Original',
    description:
      'Width and height are of the upright picture, and come with the analysis; so does the hash of an image that is uploaded to S3 directly.',
  })
  named.add(thumbnailSchema, { id: 'Thumbnail' })
  named.add(previewSchema, { id: 'Preview', description: 'Only where previews are on.' })
  named.add(boundingBoxSchema, {
    id: 'BoundingBox',
    description: "Fractions of the upright picture's width and height.",
  })
  named.add(labelSchema, { id: 'Label', description: "Rekognition's own." })
  named.add(faceSchema, { id: 'Face', description: "Rekognition's own." })
  named.add(failureSchema, { id: 'Failure' })
  named.add(metadataSchema, {
    id: 'Metadata',
    description:
      "What the file's Exif block says; empty where it says nothing. A `capturedAt` without an offset is the camera's local time, of no known zone. `orientation` is as stored, `gps` only where it was asked for.",
  })
  for (const [id, view] of Object.entries({ Image: imageView, ListedImage: listedView })) {
    named.add(view, { id, description: 'Its properties depend on its `status`.' })
    for (const option of view.options) {
      const status = option.shape.status.value
      named.add(option, { id: `${id}_${status}`, title: status })
    }
  }
  named.add(labelPageSchema, { id: 'LabelPage' })
  named.add(imagePageSchema, { id: 'ImagePage' })
  named.add(acceptedSchema, { id: 'Accepted' })
  named.add(uploadFormSchema, { id: 'UploadForm' })
  named.add(healthSchema, { id: 'Health' })
  named.add(problemSchema, { id: 'Problem', description: 'RFC 9457.' })
  named.add(presignedSchema, { id: 'Presigned' })
  named.add(eventSchema, { id: 'Event' })
  named.add(eventDetailSchema, { id: 'EventDetail' })
  return named
}

function components(named: Named): Json {
  const { schemas } = z.toJSONSchema(named, {
    ...OPTIONS,
    metadata: named,
    uri: (id) => ref(id)['$ref'] as string,
  })
  return Object.fromEntries(
    Object.entries(schemas).map(([id, { $schema: _, $id: __, ...schema }]) => [
      id,
      schema.oneOf === undefined ? schema : { ...schema, discriminator: byStatus(id) },
    ]),
  )
}

const byStatus = (id: string): Json => ({
  propertyName: 'status',
  mapping: Object.fromEntries(STATUSES.map((status) => [status, ref(`${id}_${status}`)['$ref']])),
})

/** What the API has really answered, shortened, for the OpenAPI document. A test holds it against the schemas. */

export const IMAGE_ID = imageIdSchema.parse('01a20f3c-366e-734c-99ed-0d5fffb2c168')
export const REQUEST_ID = 'b0c5ce6a-6f3b-4d7a-9d67-0e3f1f0f8a54'
const OTHER_ID = imageIdSchema.parse('01a20f3c-39f9-7373-aacd-3eaed2efdf41')

const IMAGE_PARAMETER = {
  name: 'imageId',
  in: 'path',
  required: true,
  schema: { $ref: '#/components/schemas/ImageId' },
  example: IMAGE_ID,
}

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
    exposureTime: 0.004,
    fNumber: 2.8,
    iso: 160,
    focalLength: 33,
    orientation: 1,
  },
  labels: ['Sharp', 'Black'],
  faceCount: 0,
  paidCalls: { labels: 1, faces: 1 },
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

/** The smallest PNG that is analysed would be a page long; this one ends as IMAGE_TOO_SMALL. */
export const JSON_IMAGE: z.input<typeof jsonImageSchema> = {
  image: 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
  filename: 'dot.png',
}
export const ANNOUNCED: z.input<ReturnType<typeof announcedSchema>> = {
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

/** Of answers, by the names of their schemas. */
const EXAMPLES: Record<string, object> = {
  Accepted: ACCEPTED,
  UploadForm: UPLOAD_FORM,
  ImagePage: IMAGE_PAGE,
  LabelPage: LABEL_PAGE,
  Image: {
    examples: {
      completed: { value: COMPLETED },
      pending: { value: PENDING },
      failed: { value: FAILED },
    },
  },
  Event: { source: EVENT_SOURCE, 'detail-type': DETAIL_TYPES.completed, detail: COMPLETED_DETAIL },
  Health: { status: 'ok' },
}
/** Of bodies, by what is done with them. */
const BODIES: Record<string, object> = { submitImage: JSON_IMAGE, createUpload: ANNOUNCED }
export const ENVELOPE = {
  version: '0',
  id: '5e1b4a52-1c5c-4b8e-9b0e-7d9a3c6f2d10',
  source: EVENT_SOURCE,
  account: '000000000000',
  time: '2026-11-24T20:25:34Z',
  region: 'us-east-1',
  resources: [],
}
