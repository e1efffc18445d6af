import { createHash } from 'node:crypto'
import { Attribute, DetectLabelsFeatureName } from '@aws-sdk/client-rekognition'
import * as z from 'zod'
import { AwsError, type JsonService } from '../packages/embedded-aws/index.ts'
import { formatOf } from '../packages/image-guard/format.ts'
import { isOfCommonCoding } from '../packages/image-guard/index.ts'
import {
  facesOf,
  type Label,
  labelModelVersion,
  labelsOf,
  MODERATION_MODEL_VERSION,
  MOST_SIDE,
  type Moderation,
  moderationLabelsOf,
  NotUsable,
  type Reading,
  type Sight,
  TEXT_MODEL_VERSION,
  type TextDetection,
  textOf,
  type Vision,
} from '../packages/vision/index.ts'
import { type Clock, elapsed, sleep } from '../shared/aws.ts'
import { Verdict } from '../shared/image.ts'
import { createDecoder, type Decoder, isDecoderError } from '../worker/thumbnail.ts'
import { type DominantColor, decode, type Measurements, measure, type Picture } from './measure.ts'
import type { Recall } from './recordings.ts'

/**
 * A stand-in for Amazon Rekognition: its protocol, its limits and its refusals, without its models. What it answers is
 * seen by open models where there are any, and the rest is measured from the pixels; the model version says which.
 * Limits: Rekognition developer guide, "Guidelines and quotas"; ranges of parameters: the service's API model.
 */
const MODEL_VERSION = 'stand-in'
const MAX_BYTES = 5 * 1024 * 1024
export const MAX_S3_BYTES = 15 * 1024 * 1024
/** Documented for labels and moderation alone; the others have it here too, which bounds what is decoded. */
const MAX_SIDE = 10_000
/** Images whose measurements are kept for a question that comes a little later: a few KB each. */
const KEPT_IMAGES = 100

/** The message says as little as the real one, also for a picture that is too small. */
const invalidParameters = () => new AwsError('InvalidParameterException', 'Request has invalid parameters')
const invalidFormat = () => new AwsError('InvalidImageFormatException', 'Request has invalid image format')
const tooLarge = (message = 'Image size is too large.') => new AwsError('ImageTooLargeException', message)
/** A parameter that the real service takes: refused by name, since to ignore it would be to answer something else. */
const unsupported = (name: string) =>
  z.never({ error: `${name} is not supported by the embedded Rekognition` }).optional()

const percent = z.number().min(0).max(100)
const ratio = z.number().min(0).max(1)
const imageSchema = z
  .object({
    Bytes: z.string().min(1).optional(),
    S3Object: z
      .object({
        Bucket: z.string().regex(/^[0-9A-Za-z._-]{3,255}$/),
        Name: z.string().min(1).max(1024),
        Version: unsupported('S3Object.Version'),
      })
      .optional(),
  })
  .refine((image) => (image.Bytes === undefined) !== (image.S3Object === undefined))
type ImageInput = z.infer<typeof imageSchema>

const filter = z.array(z.string().max(50)).max(100).default([])
const labelsSchema = z.object({
  Image: imageSchema,
  MaxLabels: z.int().min(0).default(1000),
  MinConfidence: percent.default(55),
  Features: z.array(z.enum(DetectLabelsFeatureName)).max(2).default([]),
  Settings: z
    .object({
      GeneralLabels: z
        .object({
          LabelInclusionFilters: filter,
          LabelExclusionFilters: filter,
          LabelCategoryInclusionFilters: filter,
          LabelCategoryExclusionFilters: filter,
        })
        .prefault({}),
      ImageProperties: z.object({ MaxDominantColors: z.int().min(0).max(20).default(10) }).prefault({}),
    })
    .prefault({}),
})

const facesSchema = z.object({ Image: imageSchema, Attributes: z.array(z.enum(Attribute)).optional() })

const moderationSchema = z.object({
  Image: imageSchema,
  MinConfidence: percent.default(50),
  HumanLoopConfig: unsupported('HumanLoopConfig'),
  ProjectVersion: unsupported('ProjectVersion'),
})

const regionSchema = z
  .object({
    BoundingBox: z
      .object({
        Left: ratio.default(0),
        Top: ratio.default(0),
        Width: ratio.default(0),
        Height: ratio.default(0),
      })
      .optional(),
    Polygon: z
      .array(z.object({ X: ratio.default(0), Y: ratio.default(0) }))
      .min(3)
      .max(10)
      .optional(),
  })
  .refine(({ BoundingBox, Polygon }) => (BoundingBox === undefined) !== (Polygon === undefined))

const textSchema = z.object({
  Image: imageSchema,
  Filters: z
    .object({
      WordFilter: z
        .object({
          MinConfidence: percent.default(80),
          MinBoundingBoxHeight: ratio.default(0),
          MinBoundingBoxWidth: ratio.default(0),
        })
        .optional(),
      RegionsOfInterest: z.array(regionSchema).max(10).default([]),
    })
    .prefault({}),
})

/** What there is to see in an image. */
interface Seen {
  width: number
  height: number
  measured: Measurements
  /** By models, where there are any, and where what is asked for takes them. */
  sight?: Sight | undefined
  reading?: Reading | undefined
  moderation?: Moderation | undefined
}
/** What an operation asks the models for. */
type Asks = 'sight' | 'reading' | 'moderation' | undefined

/** A request that has been found valid: the image it means and the answer it gets for what is seen there. */
interface Request {
  image: ImageInput
  asks: Asks
  respond: (seen: Seen) => object
}

const operation =
  <T extends { Image: ImageInput }>(
    schema: z.ZodType<T>,
    respond: (input: T, seen: Seen) => object,
    asks: (input: T) => Asks = () => undefined,
  ) =>
  (input: unknown): Request => {
    const { success, data, error } = schema.safeParse(input)
    if (success) return { image: data.Image, asks: asks(data), respond: (seen) => respond(data, seen) }
    const refused = error.issues.find((issue) => issue.code === 'invalid_type' && issue.expected === 'never')
    throw refused ? new AwsError('InvalidParameterException', refused.message) : invalidParameters()
  }

/**
 * Faces, unsafe content and text are not to be had from simple measurements, so the honest answer without models is none.
 * DetectFaces has no field for a model version.
 */
const operations = new Map([
  [
    'DetectLabels',
    operation(labelsSchema, detectLabels, ({ Features }) => (asksForLabels(Features) ? 'sight' : undefined)),
  ],
  [
    'DetectFaces',
    operation(
      facesSchema,
      ({ Attributes = [] }, { sight }) => ({ FaceDetails: sight ? facesOf(sight, Attributes) : [] }),
      () => 'sight',
    ),
  ],
  [
    'DetectModerationLabels',
    operation(
      moderationSchema,
      ({ MinConfidence }, { moderation }) => ({
        ModerationLabels: moderation ? moderationLabelsOf(moderation, MinConfidence) : [],
        ModerationModelVersion: moderation ? MODERATION_MODEL_VERSION : MODEL_VERSION,
        ContentTypes: [],
      }),
      () => 'moderation',
    ),
  ],
  ['DetectText', operation(textSchema, detectText, () => 'reading')],
])

/**
 * @param options.tps calls a second of each operation, as Amazon's quotas are; a token bucket that holds one second's
 *   worth lets a burst of that size through, then the rate. Every call takes a token, also one that is refused later.
 * @param options.latencyMs the least time until an answer or a refusal; being throttled takes no time
 */
export function createRekognition(options: {
  /** reads an object; undefined if the bucket or key is missing */
  readObject: (bucket: string, key: string) => Promise<Uint8Array | undefined>
  tps?: number
  latencyMs?: number
  clock?: Clock
  decode?: typeof decode
  /** What the real service says, where that is known; the rest is seen by models, or measured. */
  recall?: Recall | undefined
  vision?: Vision | undefined
  /** Hears, in a sentence, that the models cannot be used: from then on all is measured. */
  onVisionLost?: ((why: string) => void) | undefined
  /** And that those of text cannot be: from then on none is found. */
  onTextLost?: ((why: string) => void) | undefined
  /** And that the one of moderation cannot be, or is not installed: from then on nothing is looked for. */
  onModerationLost?: ((why: string) => void) | undefined
}): JsonService {
  const { readObject, recall, tps, latencyMs = 0, clock = { elapsed, sleep } } = options
  const { appraise } = createDecoder()
  const decodeImage = options.decode ?? decode
  const look = oncePerImage((bytes) => measureImage(bytes, appraise, decodeImage))
  const withModels = <T>(
    ask: ((picture: Picture) => Promise<T>) | undefined,
    onLost: ((why: string) => void) | undefined,
  ) => {
    let usable = ask
    return oncePerImage(async (bytes) => {
      if (usable === undefined) return undefined
      const picture = await decodeImage(await appraise(bytes), isJpeg(bytes), MOST_SIDE)
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
    tps === undefined ? [] : [...operations.keys()].map((name) => [name, tokenBucket(tps, clock.elapsed)]),
  )

  return async (name, input) => {
    const parse = operations.get(name)
    if (!parse) {
      throw new AwsError(
        'UnknownOperationException',
        `${name} is not served by the embedded Rekognition, which has ${[...operations.keys()].join(', ')}`,
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

/**
 * The bytes that a request means. Too many in the request itself get the documented error here; the real
 * service has also been seen to answer with its framework's ValidationException, which no SDK has a class for.
 */
async function readImage({ Bytes, S3Object }: ImageInput, readObject: ReadObject): Promise<Uint8Array> {
  if (Bytes !== undefined) {
    const length = Buffer.byteLength(Bytes, 'base64')
    if (length > MAX_BYTES) throw tooLarge()
    const bytes = Buffer.from(Bytes, 'base64')
    // Node skips what is not base64, so junk shows as missing bytes.
    if (bytes.length !== length) throw new AwsError('SerializationException', 'Bytes is not base64')
    return bytes
  }
  const bytes = S3Object && (await readObject(S3Object.Bucket, S3Object.Name))
  if (!bytes) {
    throw new AwsError(
      'InvalidS3ObjectException',
      'Unable to get object metadata from S3. Check object key, region and/or access permissions.',
    )
  }
  if (bytes.length > MAX_S3_BYTES) throw tooLarge()
  return bytes
}
type ReadObject = Parameters<typeof createRekognition>[0]['readObject']

/**
 * Every operation has to read an image through, to refuse a damaged one; and a worker asks several at a time. Therefore
 * each image is looked at once for all who ask for the same bytes at about the same time.
 */
function oncePerImage<T>(work: (bytes: Uint8Array) => Promise<T>): (bytes: Uint8Array) => Promise<T> {
  const done = new Map<string, Promise<T>>()
  return (bytes) => {
    const key = createHash('sha256').update(bytes).digest('hex')
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

const isJpeg = (bytes: Uint8Array): boolean => formatOf(bytes)?.contentType === 'image/jpeg'

/** What there is to measure, or the service's refusal of the image. */
async function measureImage(
  bytes: Uint8Array,
  appraise: Decoder['appraise'],
  decodeImage: typeof decode,
): Promise<Seen> {
  const contentType = formatOf(bytes)?.contentType
  if (contentType !== 'image/jpeg' && contentType !== 'image/png') throw invalidFormat()
  // The real service is said to refuse these, though sharp decodes them. Whether it refuses 16 bits a channel is not
  // documented; here they are measured.
  if (!isOfCommonCoding(bytes, contentType)) throw invalidFormat()
  try {
    const image = await appraise(bytes)
    // As Rekognition: boxes fit the upright picture of a JPEG; the orientation of a PNG is ignored.
    const { width, height } = isJpeg(bytes) ? image : image.metadata
    if (Math.max(width, height) > MAX_SIDE) {
      throw tooLarge(
        `Input image dimensions ${width} x ${height} exceed maximum dimension size of ${MAX_SIDE} pixels`,
      )
    }
    return { width, height, measured: await measure(await decodeImage(image, isJpeg(bytes))) }
  } catch (error) {
    if (!(error instanceof Verdict) && !isDecoderError(error)) throw error
    const code = error instanceof Verdict ? error.failure.code : undefined
    if (code === 'IMAGE_TOO_SMALL') throw invalidParameters()
    // Also what no worker would send: the service takes it, and the memory of this machine may not.
    throw code === 'TOO_MANY_PIXELS' ? tooLarge() : invalidFormat()
  }
}

const asksForLabels = (features: string[]): boolean =>
  features.length === 0 || features.includes('GENERAL_LABELS')

/** Where the models see nothing that they have a name for, the measurements are an answer still, in their own category. */
function detectLabels(input: z.infer<typeof labelsSchema>, seen: Seen) {
  const { measured, sight } = seen
  const { Features, MinConfidence, MaxLabels, Settings } = input
  const chosen = (labels: Label[]): Label[] =>
    labels
      .filter((label) => label.Confidence >= MinConfidence && passes(label, Settings.GeneralLabels))
      .sort((a, b) => b.Confidence - a.Confidence)
      .slice(0, MaxLabels)
  const named = sight === undefined ? [] : chosen(labelsOf(sight))
  const labels = named.length > 0 ? named : chosen(measuredLabels(seen))
  return {
    Labels: asksForLabels(Features) ? labels : [],
    LabelModelVersion: sight === undefined ? MODEL_VERSION : labelModelVersion(sight),
    ...(Features.includes('IMAGE_PROPERTIES') && {
      ImageProperties: imageProperties(measured, Settings.ImageProperties.MaxDominantColors),
    }),
  }
}

function detectText({ Filters }: z.infer<typeof textSchema>, { reading }: Seen) {
  if (reading === undefined) return { TextDetections: [], TextModelVersion: MODEL_VERSION }
  const { WordFilter, RegionsOfInterest } = Filters
  const passes = ({ Confidence, Geometry: { BoundingBox: box } }: Word): boolean =>
    (WordFilter === undefined ||
      (Confidence >= WordFilter.MinConfidence &&
        box.Width >= WordFilter.MinBoundingBoxWidth &&
        box.Height >= WordFilter.MinBoundingBoxHeight)) &&
    (RegionsOfInterest.length === 0 || RegionsOfInterest.some((region) => hasMostOf(region, box)))
  return { TextDetections: textOf(reading, passes), TextModelVersion: TEXT_MODEL_VERSION }
}
type Word = Pick<TextDetection, 'Confidence' | 'Geometry'>

/** A word is in a region with more than half of itself (API reference, RegionOfInterest): of so many points a side. */
const POINTS = 10
function hasMostOf(
  { BoundingBox: region, Polygon = [] }: z.infer<typeof regionSchema>,
  { Left, Top, Width, Height }: Word['Geometry']['BoundingBox'],
): boolean {
  let within = 0
  for (let at = 0; at < POINTS * POINTS; at += 1) {
    const x = Left + (((at % POINTS) + 0.5) / POINTS) * Width
    const y = Top + ((Math.floor(at / POINTS) + 0.5) / POINTS) * Height
    const isIn =
      region === undefined
        ? isWithin(Polygon, x, y)
        : x >= region.Left &&
          x <= region.Left + region.Width &&
          y >= region.Top &&
          y <= region.Top + region.Height
    if (isIn) within += 1
  }
  return within > (POINTS * POINTS) / 2
}

/** A line from the point to the right crosses the sides an odd number of times. */
const isWithin = (polygon: { X: number; Y: number }[], x: number, y: number): boolean =>
  polygon.filter((from, at) => {
    const to = polygon[(at + 1) % polygon.length] ?? from
    return from.Y > y !== to.Y > y && x < from.X + ((y - from.Y) / (to.Y - from.Y)) * (to.X - from.X)
  }).length %
    2 ===
  1

const label = (
  name: string,
  parent: string,
  confidence: number,
  instances: Label['Instances'] = [],
): Label => ({
  Name: name,
  Confidence: rounded(confidence),
  Instances: instances,
  Parents: [{ Name: parent }],
  Aliases: [],
  Categories: [{ Name: 'Stand-in Measurement' }],
})
const rounded = (value: number) => Math.round(value * 10_000) / 10_000

/**
 * Each measure becomes the label of the side it is on, with the measure (see measure.ts) as the confidence:
 * brightness 70 is Bright at 70, brightness 30 is Dark at 70. Of colourfulness c, Colorful is c / 109 (109 is
 * extremely colourful) and Black And White 1 − c / 15 (15 is slightly colourful). A colour has 50 + half its
 * per cent of the pixels: at the default MinConfidence it shows from a tenth of the picture on. Its box is
 * around its largest connected region, with the share of the box that the region fills as the confidence.
 */
function measuredLabels({ width, height, measured }: Seen): Label[] {
  const { brightness, contrast, sharpness, colorfulness, areas } = measured
  const side = (measured: number, high: string, low: string, parent: string) =>
    measured >= 50 ? label(high, parent, measured) : label(low, parent, 100 - measured)
  const shape = width > height ? 'Landscape' : width < height ? 'Portrait' : 'Square'
  return [
    label(`${shape} Orientation`, 'Orientation', 100),
    side(brightness, 'Bright', 'Dark', 'Brightness'),
    side(contrast, 'High Contrast', 'Low Contrast', 'Contrast'),
    side(sharpness, 'Sharp', 'Blurry', 'Sharpness'),
    label('Colorful', 'Colorfulness', Math.min(100, (100 * colorfulness) / 109)),
    label('Black And White', 'Colorfulness', Math.max(0, 100 * (1 - colorfulness / 15))),
    ...areas.map(({ family, percent, box, fill }) =>
      label(family.charAt(0).toUpperCase() + family.slice(1), 'Color', 50 + percent / 2, [
        {
          BoundingBox: { Left: box.left, Top: box.top, Width: box.width, Height: box.height },
          Confidence: rounded(fill),
        },
      ]),
    ),
  ]
}

type LabelFilters = z.infer<typeof labelsSchema>['Settings']['GeneralLabels']

/** With any inclusion filter only what one of them names comes through; an exclusion filter always takes out. */
function passes({ Name, Categories }: Label, filters: LabelFilters): boolean {
  const named = (names: string[], categories: string[]) =>
    names.includes(Name) || Categories.some((category) => categories.includes(category.Name))
  const { LabelInclusionFilters, LabelCategoryInclusionFilters } = filters
  const all = LabelInclusionFilters.length + LabelCategoryInclusionFilters.length === 0
  return (
    (all || named(LabelInclusionFilters, LabelCategoryInclusionFilters)) &&
    !named(filters.LabelExclusionFilters, filters.LabelCategoryExclusionFilters)
  )
}

/** Without Foreground and Background: a measurement cannot tell them apart. */
const imageProperties = ({ brightness, sharpness, contrast, colors }: Measurements, maxColors: number) => ({
  Quality: { Brightness: rounded(brightness), Sharpness: rounded(sharpness), Contrast: rounded(contrast) },
  DominantColors: colors.slice(0, maxColors).map(dominantColor),
})

const dominantColor = ({ css, family, rgb, percent }: DominantColor) => ({
  Red: rgb >> 16,
  Green: (rgb >> 8) & 0xff,
  Blue: rgb & 0xff,
  HexCode: `#${rgb.toString(16).padStart(6, '0')}`,
  CSSColor: css,
  SimplifiedColor: family,
  PixelPercent: rounded(percent),
})
