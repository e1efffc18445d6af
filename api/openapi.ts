import * as z from 'zod'
import { acceptedNames, acceptedTypes } from '../packages/image-guard/format.ts'
import type { AuthConfig } from '../shared/config.ts'
import {
  type AnalysisName,
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
import {
  type Accepted,
  API_ERRORS,
  ApiError,
  type ApiErrorCode,
  acceptedSchema,
  analysesSchema,
  announcedSchema,
  eventSchema,
  healthSchema,
  type ImagePage,
  idempotencyKeySchema,
  imagePageSchema,
  imageView,
  jsonImageSchema,
  type LabelPage,
  labelPageSchema,
  labelsSchema,
  listedView,
  listSchema,
  presignedSchema,
  problemOf,
  problemSchema,
  shown,
  type UploadForm,
  uploadFormSchema,
  waitSchema,
} from './schemas.ts'

/** What the document depends on. */
export interface Described {
  auth: AuthConfig['AUTH']
  /** Those that a request may ask for. */
  analyses: AnalysisName[]
  maxImageBytes: number
  heic: boolean
  maxUploadBytes: number
  maxWaitSeconds: number
}

type Json = Record<string, unknown>

/**
 * The API as OpenAPI 3.1, whose schemas are JSON Schema 2020-12: made by zod itself, of the schemas that the app uses.
 * Made when it is asked for, not at each cold start.
 */
export function openApi({
  auth,
  analyses,
  heic,
  maxImageBytes,
  maxUploadBytes,
  maxWaitSeconds,
}: Described): Json {
  const open = { security: [] }
  /** With signatures all is signed but /health (infrastructure/api.tf). */
  const openUnlessSigned = auth === 'iam' ? {} : open

  /** Each route names the codes that it can give. Where callers are known, so are the unknown ones. */
  const problems = (...codes: ApiErrorCode[]): Json =>
    refusals(
      ...codes,
      ...(codes.includes('INVALID_PARAMETER') ? [] : (['INVALID_PARAMETER'] as const)),
      ...(auth === 'none' ? [] : (['UNAUTHENTICATED'] as const)),
      'UNAVAILABLE',
    )

  /** By their status. */
  function refusals(...codes: ApiErrorCode[]): Json {
    const byStatus = Map.groupBy(codes, (code) => API_ERRORS[code][0])
    return Object.fromEntries(
      [...byStatus].map(([status, ofStatus]) => [
        status,
        response(ofStatus.map((code) => `\`${code}\`: ${API_ERRORS[code][1]}.`).join(' '), {
          type: 'application/problem+json',
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
          headers: [
            ...(status === 429 || status === 503 ? ['Retry-After'] : []),
            ...(status === 401 ? ['WWW-Authenticate'] : []),
          ],
        }),
      ]),
    )
  }

  const idempotencyKey = (description: string): Json => ({
    name: 'Idempotency-Key',
    in: 'header',
    description,
    schema: inline(idempotencyKeySchema),
    example: 'b0c5ce6a-6f3b-4d7a-9d67-0e3f1f0f8a54',
  })

  const analysesParameter = {
    ...parametersOf(analysesSchema(analyses), {
      analyses:
        'What is to be found out. Without it an image gets labels, faces and metadata. `gps` comes with `metadata`, and only where it is named.',
    })[0],
    required: false,
    explode: false,
    example: analyses.slice(0, 2),
  }
  const analysesProperty = inline(analysesSchema(analyses))['properties'] as Json

  return {
    openapi: '3.1.1',
    info: {
      title: 'Image Analyzer',
      version: '1',
      summary: 'Upload an image, get a thumbnail and what Amazon Rekognition sees in it.',
      description: [
        'An image is accepted at once and analysed after. Poll its URL (`?wait=20` answers as soon as it is finished) or subscribe to its event.',
        'Errors are `application/problem+json` (RFC 9457) with a stable `code`. Fields may be added to answers and events; none changes its meaning.',
        ...(auth === 'iam'
          ? ['Requests are signed with AWS Signature Version 4, for the service `execute-api`.']
          : []),
        'What is not known is refused by name, never ignored: a query parameter, a field or a property with 400 `INVALID_PARAMETER`, a method with 405 `METHOD_NOT_ALLOWED` and `Allow`, a path with 404 `NOT_FOUND`. HEAD is there where GET is.',
        'API Gateway, where it is in front, refuses in the same form: 401 and 403 `UNAUTHENTICATED`, 413 `IMAGE_TOO_LARGE`, 429 `TOO_MANY_REQUESTS`, 503 `UNAVAILABLE`.',
      ].join('\n\n'),
      license: { name: 'MIT', identifier: 'MIT' },
    },
    // Relative to the document, so that it is right below any stage prefix.
    servers: [{ url: '.' }],
    security: auth === 'none' ? [] : [{ [auth]: [] }],
    tags: [{ name: 'Images' }, { name: 'About' }],
    paths: {
      '/images': {
        post: {
          tags: ['Images'],
          operationId: 'submitImage',
          summary: 'Submit an image',
          description: `At most ${maxImageBytes.toLocaleString('en')} bytes of ${acceptedNames(heic, 'or')}, told by their content. Larger ones go by \`POST /uploads\`.`,
          parameters: [
            analysesParameter,
            {
              name: 'filename',
              in: 'query',
              description:
                'A name to show, where neither the body nor Content-Disposition has one. It keeps its extension, and at most 255 characters (code points).',
              schema: { type: 'string' },
              example: 'grace-hopper.jpg',
            },
            {
              name: 'Content-Disposition',
              in: 'header',
              description: 'With the name of a file, for raw bytes.',
              schema: { type: 'string' },
              example: 'attachment; filename="grace-hopper.jpg"',
            },
            idempotencyKey(
              'Makes it safe to send the same request (bytes, file name and analyses) again within a day: it is one image, also after its deletion (404 `IMAGE_NOT_FOUND`). With another request it is refused (422).',
            ),
          ],
          requestBody: {
            required: true,
            content: {
              'multipart/form-data': {
                schema: {
                  type: 'object',
                  properties: {
                    image: { ...BINARY, description: 'One file; the field may be called `file` too.' },
                    file: BINARY,
                    analyses: { type: 'string', description: 'Names with commas between them.' },
                  },
                  additionalProperties: false,
                },
                encoding: { image: { contentType: 'image/*, application/octet-stream' } },
              },
              'application/octet-stream': { schema: BINARY },
              'image/*': { schema: BINARY },
              'application/json': {
                schema: {
                  ...inline(jsonImageSchema),
                  properties: { ...(inline(jsonImageSchema)['properties'] as Json), ...analysesProperty },
                  additionalProperties: false,
                },
                example: JSON_IMAGE,
              },
            },
          },
          responses: {
            202: response('The image is accepted.', {
              schema: ref('Accepted'),
              example: ACCEPTED,
              headers: ['Location', 'Retry-After'],
            }),
            ...problems(
              ...(['EMPTY_IMAGE', 'INVALID_JSON', 'INVALID_BASE64', 'INVALID_MULTIPART'] as const),
              ...(['MISSING_IMAGE', 'MULTIPLE_IMAGES', 'INVALID_PARAMETER'] as const),
              ...(['IMAGE_TOO_LARGE', 'UNSUPPORTED_FORMAT', 'UNSUPPORTED_MEDIA_TYPE'] as const),
              ...(['IMAGE_NOT_FOUND', 'IDEMPOTENCY_KEY_REUSED', 'TOO_MANY_REQUESTS'] as const),
            ),
          },
        },
        get: {
          tags: ['Images'],
          operationId: 'listImages',
          summary: 'List images',
          description: 'Newest first. A page may have fewer images than asked for; the end has no `cursor`.',
          parameters: parametersOf(
            listSchema,
            {
              limit: 'The most images of a page.',
              cursor: 'Of the page before.',
              status: 'Images in this state only.',
              label:
                'Images with this label only: a name as Rekognition gives it, in any case. Given several times, images with all of them.',
              minConfidence: 'The least confidence of each label, in per cent.',
              faces: 'Images with a face, or analysed images without one.',
              emotion: 'Images with a face whose strongest emotion it is, in any case.',
              failure: 'Images that failed with this code.',
              filename: 'Images whose file name has this part, in any case.',
              from: 'Images accepted at this time or later: a day (in UTC), or a time with its offset.',
              to: 'Images accepted at this time or earlier; a day counts to its end.',
            },
            { label: ['Person'], limit: 10 },
          ),
          responses: {
            200: response('A page of images, without their results.', {
              schema: ref('ImagePage'),
              example: IMAGE_PAGE,
            }),
            ...problems('INVALID_PARAMETER'),
          },
        },
      },
      '/labels': {
        get: {
          tags: ['Images'],
          operationId: 'listLabels',
          summary: 'List labels',
          description:
            'The names of labels that images have, in alphabetical order. A page may have fewer names than asked for; the end has no `cursor`.',
          parameters: parametersOf(
            labelsSchema,
            {
              prefix: 'Names that begin so only, in any case.',
              limit: 'The most names of a page.',
              cursor: 'Of the page before.',
            },
            { prefix: 'p' },
          ),
          responses: {
            200: response('A page of names.', { schema: ref('LabelPage'), example: LABEL_PAGE }),
            ...problems('INVALID_PARAMETER'),
          },
        },
      },
      '/uploads': {
        post: {
          tags: ['Images'],
          operationId: 'createUpload',
          summary: 'Get a form for a large image',
          description: `For at most ${maxUploadBytes.toLocaleString('en')} bytes. Post \`upload.fields\` and then the file, in the field \`file\`, to \`upload.url\` as multipart/form-data. The image is analysed when it has arrived.`,
          parameters: [
            analysesParameter,
            idempotencyKey(
              'Makes it safe to send the same announcement again within a day: it is one image, with a new form; after its deletion, 404 `IMAGE_NOT_FOUND`. With another announcement it is refused (422).',
            ),
          ],
          requestBody: {
            required: true,
            content: {
              'application/json': {
                schema: {
                  ...inline(announcedSchema),
                  properties: {
                    ...(inline(announcedSchema)['properties'] as Json),
                    // HEIC is a matter of the deployment.
                    contentType: { type: 'string', enum: acceptedTypes(heic) },
                    ...analysesProperty,
                  },
                  additionalProperties: false,
                },
                example: ANNOUNCED,
              },
            },
          },
          responses: {
            201: response('The form is good until `expiresAt`.', {
              schema: ref('UploadForm'),
              example: UPLOAD_FORM,
              headers: ['Location'],
            }),
            ...problems(
              ...(['INVALID_JSON', 'INVALID_PARAMETER', 'IMAGE_TOO_LARGE', 'UNSUPPORTED_FORMAT'] as const),
              ...(['UNSUPPORTED_MEDIA_TYPE', 'IMAGE_NOT_FOUND'] as const),
              ...(['IDEMPOTENCY_KEY_REUSED', 'TOO_MANY_REQUESTS'] as const),
            ),
          },
        },
      },
      '/images/{imageId}': {
        parameters: [IMAGE_PARAMETER],
        get: {
          tags: ['Images'],
          operationId: 'getImage',
          summary: 'Get the record of an image',
          parameters: [
            ...parametersOf(
              waitSchema,
              {
                wait: `Seconds to wait for the end of the analysis. The answer comes as soon as the image is finished, at the latest after ${maxWaitSeconds} s.`,
              },
              { wait: 20 },
            ),
            {
              name: 'If-None-Match',
              in: 'header',
              description: 'The ETag of an earlier answer.',
              schema: { type: 'string' },
            },
          ],
          responses: {
            200: response(
              'The record. `Retry-After` says when to come back, while the image is unfinished.',
              {
                schema: ref('Image'),
                examples: {
                  completed: { value: COMPLETED },
                  pending: { value: PENDING },
                  failed: { value: FAILED },
                },
                headers: ['ETag', 'Retry-After?', 'Server-Timing?'],
              },
            ),
            304: response('The record has not changed.', {
              headers: ['ETag', 'Retry-After?', 'Server-Timing?'],
            }),
            ...problems('INVALID_PARAMETER', 'IMAGE_NOT_FOUND'),
          },
        },
        delete: {
          tags: ['Images'],
          operationId: 'deleteImage',
          summary: 'Delete an image',
          responses: {
            204: response('Record, original, thumbnail and preview are gone.'),
            ...problems('IMAGE_NOT_FOUND'),
          },
        },
      },
      '/images/{imageId}/thumbnail': {
        parameters: [IMAGE_PARAMETER],
        get: {
          tags: ['Images'],
          operationId: 'getThumbnail',
          summary: 'Get the thumbnail',
          description: 'JPEG, 128 × 128, upright.',
          responses: {
            ...presigned(thumbnailKey(IMAGE_ID)),
            ...problems('IMAGE_NOT_FOUND', 'NOT_FOUND'),
          },
        },
      },
      '/images/{imageId}/preview': {
        parameters: [IMAGE_PARAMETER],
        get: {
          tags: ['Images'],
          operationId: 'getPreview',
          summary: 'Get the preview',
          description:
            'JPEG of the whole upright picture, at most 1,600 pixels a side; 404 where previews are off.',
          responses: {
            ...presigned(previewKey(IMAGE_ID)),
            ...problems('IMAGE_NOT_FOUND', 'NOT_FOUND'),
          },
        },
      },
      '/images/{imageId}/original': {
        parameters: [IMAGE_PARAMETER],
        get: {
          tags: ['Images'],
          operationId: 'getOriginal',
          summary: 'Get the original',
          description: 'As an attachment under its own name.',
          responses: {
            ...presigned(originalKey(IMAGE_ID)),
            ...problems('IMAGE_NOT_FOUND', 'NOT_FOUND'),
          },
        },
      },
      '/images/{imageId}/event': {
        parameters: [IMAGE_PARAMETER],
        get: {
          tags: ['Images'],
          operationId: 'getEvent',
          summary: 'Get the event that announced the end',
          description: 'As EventBridge was told; it adds an id, an account, a region and a time.',
          responses: {
            200: response('The event.', {
              schema: ref('Event'),
              example: {
                source: EVENT_SOURCE,
                'detail-type': DETAIL_TYPES.completed,
                detail: COMPLETED_DETAIL,
              },
            }),
            ...problems('IMAGE_NOT_FOUND', 'NOT_FOUND'),
          },
        },
      },
      '/images/{imageId}/retry': {
        parameters: [IMAGE_PARAMETER],
        post: {
          tags: ['Images'],
          operationId: 'retryImage',
          summary: 'Analyse a failed image again',
          responses: {
            202: response('The image is pending again.', {
              schema: ref('Accepted'),
              example: { ...ACCEPTED, message: 'The image is analysed again.' },
              headers: ['Location', 'Retry-After'],
            }),
            ...problems('IMAGE_NOT_FOUND', 'NOT_FAILED'),
          },
        },
      },
      '/health': {
        get: {
          ...open,
          tags: ['About'],
          operationId: 'getHealth',
          summary: 'Whether the API is there',
          responses: {
            200: response('It is.', { schema: ref('Health'), example: { status: 'ok' } }),
            ...refusals('INVALID_PARAMETER'),
          },
        },
      },
      '/openapi.json': {
        get: {
          ...openUnlessSigned,
          tags: ['About'],
          operationId: 'getDocument',
          summary: 'This document',
          responses: {
            200: response('OpenAPI 3.1.', { schema: { type: 'object' } }),
            ...refusals('INVALID_PARAMETER'),
          },
        },
      },
      '/docs': {
        get: {
          ...openUnlessSigned,
          tags: ['About'],
          operationId: 'getReference',
          summary: 'This document as a page',
          responses: {
            200: response('HTML.', { type: 'text/html', schema: { type: 'string' } }),
            ...refusals('INVALID_PARAMETER'),
          },
        },
      },
      '/': {
        get: {
          ...openUnlessSigned,
          tags: ['About'],
          operationId: 'getPage',
          summary: 'The web page',
          responses: {
            200: response('HTML.', { type: 'text/html', schema: { type: 'string' } }),
            ...refusals('INVALID_PARAMETER'),
          },
        },
      },
    },
    webhooks: {
      imageCompleted: webhook('completed', COMPLETED_DETAIL),
      imageFailed: webhook('failed', FAILED_DETAIL),
    },
    components: {
      schemas: components(),
      headers: HEADERS,
      securitySchemes: {
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
      },
    },
  }
}

const BINARY = { type: 'string', format: 'binary' }

const HEADERS = {
  'X-Request-Id': {
    description:
      'Names this request in the log; `instance` of a problem has it too. A request may have one of its own, which the log then has beside it.',
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
  ETag: { description: 'Of this state of the record.', schema: { type: 'string' } },
  'WWW-Authenticate': { description: 'How to prove who you are.', schema: { type: 'string' } },
}

const ref = (name: string): Json => ({ $ref: `#/components/schemas/${name}` })

/**
 * @param headers names; one that is not always there ends with a question mark
 * @param location an example of that header
 */
function response(
  description: string,
  {
    type = 'application/json',
    headers = [],
    location,
    ...media
  }: {
    type?: string
    schema?: Json
    example?: unknown
    examples?: Json
    headers?: string[]
    location?: string
  } = {},
): Json {
  const named = ['X-Request-Id', ...headers].map((header) => {
    const name = header.replace('?', '')
    // What is referred to cannot be said to be required; so it is repeated.
    const example = name === 'Location' && location !== undefined ? { example: location } : {}
    return [name, { ...HEADERS[name as keyof typeof HEADERS], required: name === header, ...example }]
  })
  return {
    description,
    headers: Object.fromEntries(named),
    ...(media.schema === undefined ? {} : { content: { [type]: media } }),
  }
}

const presigned = (key: string): Json => ({
  200: response('With `Accept: application/json`, a URL that is good for some minutes.', {
    schema: ref('Presigned'),
  }),
  302: response('To a URL that is good for some minutes.', {
    headers: ['Location'],
    location: `https://image-analyzer-images.s3.us-east-1.amazonaws.com/${key}?X-Amz-Signature=5f1d`,
  }),
})

/** What EventBridge sends to an API destination: its envelope, with the project's detail in it. */
function webhook(status: keyof typeof DETAIL_TYPES, detail: Json): Json {
  return {
    post: {
      operationId: `${status}Event`,
      summary: DETAIL_TYPES[status],
      description:
        'Sent by EventBridge to whatever a rule of the bus names. It comes at least once and never before its record is committed; repetitions carry the same `eventId`.',
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
      responses: { '2XX': { description: 'Taken. After any other answer EventBridge sends it again.' } },
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

/** Query parameters; each has to be described. Those with an example are in the code that the reference shows. */
function parametersOf<T extends z.ZodObject>(
  schema: T,
  descriptions: Record<keyof T['shape'], string>,
  given: Partial<Record<keyof T['shape'], unknown>> = {},
): Json[] {
  const properties = inline(schema)['properties'] as Record<string, Json>
  return Object.entries(properties).map(([name, property]) => ({
    name,
    in: 'query',
    description: descriptions[name],
    schema: property,
    ...(given[name] === undefined ? {} : { example: given[name] }),
  }))
}

/** Every schema that has a name; where one is part of another, the other refers to it. */
function components(): Json {
  const named = z.registry<{ id: string; title?: string; description?: string }>()
  named.add(imageIdSchema, { id: 'ImageId', description: 'A version 7 UUID.' })
  named.add(originalSchema, {
    id: 'Original',
    description: 'Width and height are of the upright picture. They and the hash come with the analysis.',
  })
  named.add(thumbnailSchema, { id: 'Thumbnail' })
  named.add(previewSchema, { id: 'Preview', description: 'Where previews are on.' })
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
    named.add(view, { id, description: 'What it has follows from its `status`.' })
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
