import { readFile } from 'node:fs/promises'
import type { DetectLabelsResponse, Label } from '@aws-sdk/client-rekognition'
import sharp, { type Color, type Sharp } from 'sharp'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { createRekognition, imageOpener } from '../../rekognition/service.ts'
import { pngChunk, withChunks } from '../pictures/pictures.ts'

const OPERATIONS = ['DetectLabels', 'DetectFaces', 'DetectModerationLabels', 'DetectText']
const photo = await readFile(new URL('../fixtures/grace-hopper.jpg', import.meta.url))
const arithmetic = await readFile(new URL('../fixtures/odd/jpeg-arithmetic.jpg', import.meta.url))
const readObject = async () => undefined
const rekognition = createRekognition({ readObject })

const image = (bytes: Uint8Array) => ({ Image: { Bytes: Buffer.from(bytes).toString('base64') } })
const plain = (width: number, height: number, background: Color = 'white') =>
  sharp({ create: { width, height, channels: 3, background } })
const png = (picture: Sharp) => picture.png().toBuffer()

const detectLabels = async (bytes: Uint8Array, options: object = { MinConfidence: 0 }) =>
  (await rekognition('DetectLabels', { ...image(bytes), ...options })) as DetectLabelsResponse
async function labelsOf(bytes: Uint8Array, options?: object): Promise<Map<string | undefined, Label>> {
  const { Labels = [] } = await detectLabels(bytes, options)
  return new Map(Labels.map((label) => [label.Name, label]))
}
const confidence = async (bytes: Uint8Array, name: string) => (await labelsOf(bytes)).get(name)?.Confidence
const boxOf = async (bytes: Uint8Array, name: string) =>
  (await labelsOf(bytes)).get(name)?.Instances?.[0]?.BoundingBox

const hundredMegapixels = await png(plain(10_001, 10_001))
/** White, 640 × 480, with a blue rectangle of 160 × 120 whose corner is at 400, 60. */
const rectangle = () =>
  plain(640, 480).composite([
    { input: { create: { width: 160, height: 120, channels: 3, background: 'blue' } }, left: 400, top: 60 },
  ])
const about = (value: number) => expect.closeTo(value, 1.6) // within 0.0126: one and a half of 128 pixels

describe.each(OPERATIONS)('%s refuses', (operation) => {
  const refusal = async (input: Record<string, unknown>, service = rekognition, name = operation) =>
    service(name, input).then(
      (answer) => expect.fail(`answered ${JSON.stringify(answer)}`),
      ({ name, message, status }) => ({ name, message, status }),
    )
  const invalidParameters = {
    name: 'InvalidParameterException',
    message: 'Request has invalid parameters',
    status: 400,
  }
  const invalidFormat = { name: 'InvalidImageFormatException', status: 400 }

  test('what is not JPEG or PNG by its first bytes', async () => {
    for (const bytes of [
      await plain(100, 100).webp().toBuffer(),
      await plain(100, 100).gif().toBuffer(),
      Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100"/>'),
      Buffer.from('plain text'),
    ]) {
      expect(await refusal(image(bytes))).toMatchObject(invalidFormat)
    }
  })

  test('a JPEG with arithmetic coding, and a PNG with a critical chunk of its own', async () => {
    const odd = withChunks(await png(plain(100, 100)), pngChunk('ODDc', Buffer.from('x')))
    expect(await refusal(image(arithmetic))).toMatchObject(invalidFormat)
    expect(await refusal(image(odd))).toMatchObject(invalidFormat)
  })

  test('a JPEG or PNG that cannot be decoded, however good its header is', async () => {
    for (const bytes of [photo, await png(sharp(photo))]) {
      expect(await refusal(image(bytes.subarray(0, bytes.length / 2)))).toMatchObject(invalidFormat)
      expect(await refusal(image(bytes.subarray(0, 12)))).toMatchObject(invalidFormat)
    }
  })

  test('no image for a fault of its own', async () => {
    const fault = vi
      .spyOn(Object.getPrototypeOf(sharp()) as Sharp, 'toBuffer')
      .mockRejectedValue(new TypeError('a slip of ours'))
    onTestFinished(() => fault.mockRestore())
    const service = createRekognition({ readObject })
    expect(await refusal(image(photo), service)).toMatchObject({
      name: 'TypeError',
      message: 'a slip of ours',
    })
  })

  test('a side under 80 pixels with a message that does not say so, and takes 80', async () => {
    expect(await refusal(image(await png(plain(79, 200))))).toEqual(invalidParameters)
    expect(await refusal(image(await png(plain(200, 79))))).toEqual(invalidParameters)
    await expect(rekognition(operation, image(await png(plain(80, 80))))).resolves.toBeTypeOf('object')
  })

  test('a side over 10,000 pixels, and takes 10,000', async () => {
    expect(await refusal(image(await png(plain(10_001, 80))))).toEqual({
      name: 'ImageTooLargeException',
      message: 'Input image dimensions 10001 x 80 exceed maximum dimension size of 10000 pixels',
      status: 400,
    })
    expect(await refusal(image(hundredMegapixels))).toMatchObject({ name: 'ImageTooLargeException' })
    await expect(rekognition(operation, image(await png(plain(10_000, 80))))).resolves.toBeTypeOf('object')
  })

  test('more than 5 MB in the request, and takes 5 MB', async () => {
    const padded = (bytes: number) => image(Buffer.concat([photo, Buffer.alloc(bytes - photo.length)]))
    expect(await refusal(padded(5_242_881))).toMatchObject({ name: 'ImageTooLargeException', status: 400 })
    await expect(rekognition(operation, padded(5_242_880))).resolves.toBeTypeOf('object')
  })

  test('more than 15 MB in S3, and takes 15 MB', async () => {
    const inS3 = { Image: { S3Object: { Bucket: 'images', Name: 'a' } } }
    const holding = (bytes: number) => {
      const object = Buffer.concat([photo, Buffer.alloc(bytes - photo.length)])
      return createRekognition({ readObject: async () => object })
    }
    expect(await refusal(inS3, holding(15_728_641))).toMatchObject({ name: 'ImageTooLargeException' })
    await expect(holding(15_728_640)(operation, inS3)).resolves.toBeTypeOf('object')
  })

  test('an object that is not in S3', async () => {
    expect(await refusal({ Image: { S3Object: { Bucket: 'images', Name: 'gone' } } })).toEqual({
      name: 'InvalidS3ObjectException',
      message: 'Unable to get object metadata from S3. Check object key, region and/or access permissions.',
      status: 400,
    })
  })

  test('both or neither of Bytes and S3Object', async () => {
    const S3Object = { Bucket: 'images', Name: 'a' }
    expect(await refusal({ Image: { ...image(photo).Image, S3Object } })).toEqual(invalidParameters)
    expect(await refusal({ Image: {} })).toEqual(invalidParameters)
    expect(await refusal({ Image: { Bytes: '' } })).toEqual(invalidParameters)
    expect(await refusal({})).toEqual(invalidParameters)
  })

  test('bytes that are not base64', async () => {
    expect(await refusal({ Image: { Bytes: '/9j/ not base64' } })).toMatchObject({
      name: 'SerializationException',
    })
  })

  test('calls of an operation over the rate: a burst of one second, then the rate, refused calls included', async () => {
    let time = 0
    const service = createRekognition({
      readObject,
      tps: 5,
      clock: { elapsed: () => time, sleep: async () => {} },
    })
    const accepted = async (calls: number, other = operation) => {
      const names = await Promise.all(Array.from({ length: calls }, () => refusal({}, service, other)))
      expect(new Set(names.map(({ status }) => status))).toEqual(new Set([400]))
      return names.filter(({ name }) => name !== 'ProvisionedThroughputExceededException').length
    }
    expect(await accepted(8)).toBe(5)
    for (const other of OPERATIONS.filter((name) => name !== operation))
      expect(await accepted(8, other)).toBe(5)
    time += 400
    expect(await accepted(8)).toBe(2)
    time += 60_000
    expect(await accepted(8)).toBe(5)
  })
})

test.each([
  ['DetectLabels', { MinConfidence: 101 }],
  ['DetectLabels', { MinConfidence: -1 }],
  ['DetectLabels', { MaxLabels: -1 }],
  ['DetectLabels', { MaxLabels: 1.5 }],
  ['DetectLabels', { Features: ['FACES'] }],
  ['DetectLabels', { Settings: { ImageProperties: { MaxDominantColors: 21 } } }],
  ['DetectFaces', { Attributes: ['MOOD'] }],
  ['DetectModerationLabels', { MinConfidence: 101 }],
  ['DetectText', { Filters: { WordFilter: { MinConfidence: 101 } } }],
])('%s refuses %j', async (operation, options) => {
  await expect(rekognition(operation, { ...image(photo), ...options })).rejects.toMatchObject({
    name: 'InvalidParameterException',
    message: 'Request has invalid parameters',
  })
})

test('what the real service has and the stand-in has not is refused by name', async () => {
  await expect(rekognition('CompareFaces', {})).rejects.toMatchObject({
    name: 'UnknownOperationException',
    message: expect.stringContaining('CompareFaces'),
    status: 400,
  })
  await expect(rekognition('toString', {})).rejects.toMatchObject({ name: 'UnknownOperationException' })
  await expect(
    rekognition('DetectModerationLabels', { ...image(photo), ProjectVersion: 'arn:aws:rekognition:…' }),
  ).rejects.toMatchObject({
    name: 'InvalidParameterException',
    message: expect.stringContaining('ProjectVersion'),
  })
})

test('an object is read from the bucket and under the key that the request names', async () => {
  const service = createRekognition({
    readObject: async (bucket, key) => (bucket === 'images' && key === 'originals/é 1' ? photo : undefined),
  })
  const S3Object = { Bucket: 'images', Name: 'originals/é 1' }
  expect(await service('DetectLabels', { Image: { S3Object } })).toEqual(
    await rekognition('DetectLabels', image(photo)),
  )
})

test('answers and refusals take the latency, being throttled does not', async () => {
  const waits: { ms: number; end: () => void }[] = []
  const sleep = (ms: number) => new Promise<void>((end) => waits.push({ ms, end }))
  const service = createRekognition({
    ...{ readObject, tps: 2, latencyMs: 300 },
    clock: { elapsed: () => 0, sleep },
  })
  let answers = 0
  const ask = async (input: Record<string, unknown>) => {
    await service('DetectFaces', input).catch(() => undefined)
    answers += 1
  }
  const calls = [ask(image(await png(plain(80, 80)))), ask({})]
  await ask({})
  expect(answers).toBe(1)
  expect(waits.map(({ ms }) => ms)).toEqual([300, 300])
  for (const { end } of waits) end()
  await Promise.all(calls)
})

test('each answer has the shape of its operation and says that a stand-in gave it', async () => {
  expect(await detectLabels(photo)).toMatchObject({ LabelModelVersion: 'stand-in' })
  expect(await rekognition('DetectFaces', { ...image(photo), Attributes: ['DEFAULT', 'EMOTIONS'] })).toEqual({
    FaceDetails: [],
  })
  expect(await rekognition('DetectModerationLabels', { ...image(photo), MinConfidence: 60 })).toEqual({
    ModerationLabels: [],
    ModerationModelVersion: 'stand-in',
    ContentTypes: [],
  })
  expect(await rekognition('DetectText', image(photo))).toEqual({
    TextDetections: [],
    TextModelVersion: 'stand-in',
  })
})

test('all operations on one image decode it once, side by side or one after another', async () => {
  const decoded: number[] = []
  const open = imageOpener()
  const service = createRekognition({
    readObject: async () => photo,
    openImage: async (bytes) => {
      const { width, height, pixels } = await open(bytes)
      const counted: typeof pixels = (side) => {
        decoded.push(width)
        return pixels(side)
      }
      return { width, height, pixels: counted }
    },
  })
  const inS3 = { Image: { S3Object: { Bucket: 'images', Name: 'a' } } }
  const [labels] = await Promise.all(OPERATIONS.map((operation) => service(operation, image(photo))))
  expect(await service('DetectLabels', inS3)).toEqual(labels)
  expect(decoded).toEqual([512])

  const cut = photo.subarray(0, photo.length / 2)
  const refused = await Promise.allSettled(OPERATIONS.map((operation) => service(operation, image(cut))))
  expect(new Set(refused.map(({ status }) => status))).toEqual(new Set(['rejected']))
  await service('DetectLabels', image(await png(plain(90, 80))))
  expect(decoded).toEqual([512, 512, 90])
})

test('the box of a colour is where it was drawn', async () => {
  const jpeg = await rectangle().jpeg().toBuffer()
  expect((await labelsOf(jpeg)).get('Blue')).toEqual({
    Name: 'Blue',
    Confidence: expect.closeTo(50 + 6.25 / 2, 0), // 160 · 120 of 640 · 480 pixels are 6.25 %
    Instances: [
      {
        BoundingBox: {
          Left: about(400 / 640),
          Top: about(60 / 480),
          Width: about(160 / 640),
          Height: about(120 / 480),
        },
        Confidence: expect.closeTo(100, -1),
      },
    ],
    Parents: [{ Name: 'Color' }],
    Aliases: [],
    Categories: [{ Name: 'Stand-in Measurement' }],
  })
})

test('the box is around the largest of several regions of a colour', async () => {
  const block = (side: number, left: number, top: number) => ({
    input: { create: { width: side, height: side, channels: 3 as const, background: 'red' } },
    left,
    top,
  })
  const picture = await png(plain(400, 400).composite([block(40, 10, 10), block(80, 300, 200)]))
  expect(await boxOf(picture, 'Red')).toEqual({
    Left: about(300 / 400),
    Top: about(200 / 400),
    Width: about(80 / 400),
    Height: about(80 / 400),
  })
})

test('boxes and orientation fit the upright picture of a JPEG and the stored one of a PNG', async () => {
  // Orientation 6: to be turned clockwise by a quarter, so that what is stored at x, y appears at 1 − y, x.
  const turned = await rectangle().withMetadata({ orientation: 6 }).jpeg().toBuffer()
  expect(await boxOf(turned, 'Blue')).toEqual({
    Left: about(1 - 180 / 480),
    Top: about(400 / 640),
    Width: about(120 / 480),
    Height: about(160 / 640),
  })
  expect([...(await labelsOf(turned)).keys()]).toContain('Portrait Orientation')

  const stored = await rectangle().withMetadata({ orientation: 6 }).png().toBuffer()
  expect((await sharp(stored).metadata()).orientation).toBe(6)
  expect(await boxOf(stored, 'Blue')).toMatchObject({ Left: about(400 / 640), Top: about(60 / 480) })
  expect([...(await labelsOf(stored)).keys()]).toContain('Landscape Orientation')
})

test.each([
  ['#ffffff', 'White'],
  ['#000000', 'Black'],
  ['#202020', 'Black'],
  ['#555555', 'Grey'],
  ['#969696', 'Grey'],
  ['#d01020', 'Red'],
  ['#ff9500', 'Orange'],
  ['#f7dd10', 'Yellow'],
  ['#7a4a20', 'Brown'],
  ['#207030', 'Green'],
  ['#10c8c8', 'Cyan'],
  ['#2040c0', 'Blue'],
  ['#70209a', 'Purple'],
  ['#ff70b0', 'Pink'],
])('a picture all in %s is called %s', async (color, name) => {
  expect(await confidence(await png(plain(200, 200, color)), name)).toBe(100)
})

test('brightness follows the pixels: a dark picture is Dark, a bright one is Bright', async () => {
  const dark = await labelsOf(await png(plain(200, 200, '#202020')))
  expect(dark.get('Dark')?.Confidence).toBeCloseTo(100 * (1 - 32 / 255), 1)
  expect(dark.has('Bright')).toBe(false)
  const bright = await labelsOf(await png(plain(200, 200, '#e0e0e0')))
  expect(bright.get('Bright')?.Confidence).toBeCloseTo((100 * 224) / 255, 1)
  expect(bright.has('Dark')).toBe(false)
})

test('sharpness follows the pixels: the same photo is Sharp, and blurred it is Blurry', async () => {
  expect(await confidence(photo, 'Sharp')).toBeGreaterThan(80)
  const blurred = await labelsOf(await sharp(photo).blur(8).jpeg().toBuffer())
  expect(blurred.get('Blurry')?.Confidence).toBeGreaterThan(80)
  expect(blurred.has('Sharp')).toBe(false)
})

test('sharpness is the variance of the Laplacian', async () => {
  // Every tenth column is 160 in 100: the Laplacian is −120 there, 60 in both neighbours and 0 elsewhere.
  // Mean 0, variance (120² + 2 · 60²) / 10 = 2160.
  const columns = Buffer.from(Array.from({ length: 500 * 200 }, (_, at) => (at % 10 === 5 ? 160 : 100)))
  const stripes = await png(sharp(columns, { raw: { width: 500, height: 200, channels: 1 } }))
  expect(await confidence(stripes, 'Sharp')).toBeCloseTo((100 * 2160) / 2260, 0)
})

test('contrast follows the pixels: one grey has none, black beside white has all', async () => {
  expect(await confidence(await png(plain(200, 200, '#808080')), 'Low Contrast')).toBe(100)
  const halves = plain(200, 200).composite([
    { input: { create: { width: 100, height: 200, channels: 3, background: 'black' } }, left: 0, top: 0 },
  ])
  expect(await confidence(await png(halves), 'High Contrast')).toBe(100)
})

test('a grey photo is Black And White and has no hue among its colours', async () => {
  const grey = await labelsOf(await sharp(photo).greyscale().jpeg().toBuffer())
  expect(grey.get('Black And White')?.Confidence).toBeGreaterThan(95)
  const colors = [...grey.values()].filter((label) => label.Parents?.[0]?.Name === 'Color')
  expect(colors.map((label) => label.Name).sort()).toEqual(['Black', 'Grey', 'White'])
  expect(await confidence(photo, 'Black And White')).toBe(0)
  expect(await confidence(photo, 'Colorful')).toBeGreaterThan(40)
})

test('grey, 16-bit, CMYK and transparent files are measured too, transparency as white', async () => {
  const blue = plain(200, 200, '#2040c0')
  for (const bytes of [
    await blue.clone().toColourspace('rgb16').png().toBuffer(),
    await blue.clone().toColourspace('cmyk').jpeg().toBuffer(),
    await blue.clone().png({ palette: true }).toBuffer(),
  ]) {
    expect(await confidence(bytes, 'Blue')).toBe(100)
  }
  expect(
    await confidence(await plain(200, 200, '#808080').toColourspace('b-w').png().toBuffer(), 'Grey'),
  ).toBe(100)
  expect(await confidence(await blue.clone().ensureAlpha(0).png().toBuffer(), 'White')).toBe(100)
})

test('labels come strongest first, from 55 on, and both bounds can be set', async () => {
  const { Labels = [] } = await detectLabels(photo, {})
  const confidences = Labels.map((label) => label.Confidence ?? 0)
  expect(confidences.length).toBeGreaterThan(3)
  expect(confidences).toEqual(confidences.toSorted((a, b) => b - a))
  expect(Math.min(...confidences)).toBeGreaterThanOrEqual(55)

  expect((await detectLabels(photo, { MaxLabels: 2 })).Labels).toEqual(Labels.slice(0, 2))
  const strong = (await detectLabels(photo, { MinConfidence: 80 })).Labels
  expect(strong).toEqual(Labels.filter((label) => (label.Confidence ?? 0) >= 80))
  expect(strong?.length).toBeLessThan(Labels.length)
})

test('labels are filtered by name and category', async () => {
  const names = async (GeneralLabels: object) =>
    [...(await labelsOf(photo, { MinConfidence: 50, Settings: { GeneralLabels } })).keys()].sort()
  const all = await names({})
  expect(await names({ LabelInclusionFilters: ['Blue', 'Sharp', 'Dog'] })).toEqual(['Blue', 'Sharp'])
  expect(await names({ LabelExclusionFilters: ['Blue'] })).toEqual(all.filter((name) => name !== 'Blue'))
  expect(await names({ LabelCategoryInclusionFilters: ['Stand-in Measurement'] })).toEqual(all)
  expect(await names({ LabelCategoryExclusionFilters: ['Stand-in Measurement'] })).toEqual([])
})

test('image properties are given when they are asked for, with or without labels', async () => {
  expect(await detectLabels(photo, {})).not.toHaveProperty('ImageProperties')
  const both = await detectLabels(await rectangle().jpeg().toBuffer(), {
    Features: ['GENERAL_LABELS', 'IMAGE_PROPERTIES'],
    Settings: { ImageProperties: { MaxDominantColors: 2 } },
  })
  expect(both.Labels).not.toEqual([])
  expect(both.ImageProperties).toEqual({
    Quality: {
      Brightness: expect.closeTo(95.6, 0),
      Sharpness: expect.any(Number),
      Contrast: expect.any(Number),
    },
    DominantColors: [
      {
        Red: 255,
        Green: 255,
        Blue: 255,
        HexCode: '#ffffff',
        CSSColor: 'white',
        SimplifiedColor: 'white',
        PixelPercent: expect.closeTo(93.75, -0.5),
      },
      {
        Red: 0,
        Green: 0,
        Blue: 255,
        HexCode: '#0000ff',
        CSSColor: 'blue',
        SimplifiedColor: 'blue',
        PixelPercent: expect.closeTo(6.25, -0.5),
      },
    ],
  })
  expect((await detectLabels(photo, { Features: ['IMAGE_PROPERTIES'] })).Labels).toEqual([])
})

test('a photo gets plausible labels, the same each time', async () => {
  const labels = await labelsOf(photo, {})
  expect([...labels.keys()]).toEqual(
    expect.arrayContaining(['Portrait Orientation', 'Sharp', 'Dark', 'Blue']),
  )
  expect(await labelsOf(photo, {})).toEqual(labels)
})
