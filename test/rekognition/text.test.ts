import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  DetectTextCommand,
  type DetectTextResponse,
  type Point,
  type TextDetection,
} from '@aws-sdk/client-rekognition'
import sharp from 'sharp'
import { afterAll, describe, expect, it } from 'vitest'
import { createVision, isInstalled, TEXT_MODEL_VERSION, type Vision } from '../../packages/vision/index.ts'
import { createRekognition } from '../../rekognition/service.ts'
import { skipped } from '../tools.ts'
import { withSdk } from './vision-sdk.ts'

const text = readFileSync(join(import.meta.dirname, '../fixtures/text.png'))
const LINES = ['Hello World 2026', 'Invoice No. 4711, total $12.50', 'Café Zoé (open)', 'mail@example.com']
/** The first two of them. */
const top = () => sharp(text).extract({ left: 0, top: 0, width: 500, height: 210 })
const TOP_LINES = LINES.slice(0, 2)
const readObject = async () => undefined

type Service = ReturnType<typeof createRekognition>
const answerOf = async (service: Service, bytes: Uint8Array, Filters?: object) =>
  (await service('DetectText', {
    Image: { Bytes: Buffer.from(bytes).toString('base64') },
    ...(Filters && { Filters }),
  })) as DetectTextResponse
const textOf = async (service: Service, bytes: Uint8Array, Filters?: object): Promise<TextDetection[]> =>
  (await answerOf(service, bytes, Filters)).TextDetections ?? []
const named = (type: 'LINE' | 'WORD', detections: TextDetection[]): (string | undefined)[] =>
  detections.filter(({ Type }) => Type === type).map(({ DetectedText }) => DetectedText)
const linesOf = async (service: Service, bytes: Uint8Array, Filters?: object) =>
  named('LINE', await textOf(service, bytes, Filters))
const wordsOf = async (service: Service, bytes: Uint8Array, Filters?: object) =>
  named('WORD', await textOf(service, bytes, Filters))

/** Within a hundredth of the picture: other machines may reckon a little otherwise. */
const near = (value: number) => expect.closeTo(value, 1.7)
/** A word ends at the middle of its last character, so its end is less exact. */
const nearly = (value: number) => expect.closeTo(value, 1.3)

const lacking = isInstalled() ? [] : ['the models']
describe.skipIf(lacking.length > 0)(`with its models, DetectText${skipped(lacking)}`, () => {
  const vision = createVision({ threads: 1 })
  const service = createRekognition({ readObject, vision })
  afterAll(vision.stop)

  it('reads lines from top to bottom, then their words, each with its place', async () => {
    const { TextDetections = [], TextModelVersion } = await answerOf(service, text)
    expect(TextModelVersion).toBe('local-1 (ppocr-v4)')
    expect(named('LINE', TextDetections)).toEqual(LINES)
    expect(named('WORD', TextDetections)).toEqual(LINES.flatMap((line) => line.split(' ')))
    expect(TextDetections.map(({ Id }) => Id)).toEqual(TextDetections.map((_, at) => at))
    for (const { Type, ParentId, DetectedText = '', Confidence } of TextDetections) {
      expect(Confidence).toBeGreaterThan(80)
      expect(Confidence).toBeLessThan(100)
      if (Type === 'LINE') expect(ParentId).toBeUndefined()
      else expect(LINES[ParentId ?? -1]?.split(' ')).toContain(DetectedText)
    }
    const [line, , , , hello, world] = TextDetections
    // Drawn from 64 to 435 across and from 77 to 111 down, Hello up to 169 and World from 187 to 308.
    expect(line?.Geometry?.BoundingBox).toEqual({
      ...{ Left: near(60 / 640), Top: near(77 / 360), Width: near(376 / 640), Height: near(36 / 360) },
    })
    expect(hello?.Geometry?.BoundingBox).toMatchObject({ Left: near(60 / 640), Width: near(105 / 640) })
    expect(world?.Geometry?.BoundingBox).toMatchObject({ Left: nearly(187 / 640), Width: nearly(121 / 640) })
    expect(line?.Geometry?.Polygon?.map(({ X = 0, Y = 0 }) => [X, Y])).toEqual([
      [near(60 / 640), near(77 / 360)],
      [near(436 / 640), near(77 / 360)],
      [near(436 / 640), near(113 / 360)],
      [near(60 / 640), near(113 / 360)],
    ])
  })

  it.each([
    ['to the right', 90],
    ['to the left', 270],
    ['upside down', 180],
  ])('reads what lies %s, and says in its polygon how it runs', async (_, angle) => {
    const turned = await top().rotate(angle).png().toBuffer()
    const detections = await textOf(service, turned)
    expect(named('LINE', detections).toSorted()).toEqual(TOP_LINES)
    const hello = detections.find(({ DetectedText }) => DetectedText === LINES[0])
    const [{ X: fromX = 0, Y: fromY = 0 } = {}, { X: toX = 0, Y: toY = 0 } = {}]: Point[] =
      hello?.Geometry?.Polygon ?? []
    const runs = (Math.atan2(toY - fromY, toX - fromX) * 180) / Math.PI
    expect((runs + 360) % 360).toBeCloseTo(angle, 0)
  })

  it('reads what lies askew, and a photo on its side upright', async () => {
    const askew = await top().rotate(25, { background: '#fbf7ee' }).png().toBuffer()
    expect((await linesOf(service, askew)).toSorted()).toEqual(TOP_LINES)
    const onItsSide = await top()
      .rotate(270)
      .jpeg({ quality: 95 })
      .withMetadata({ orientation: 6 })
      .toBuffer()
    const [line] = await textOf(service, onItsSide)
    expect(line).toMatchObject({
      DetectedText: LINES[0],
      Geometry: { BoundingBox: { Left: near(60 / 500), Top: near(77 / 210) } },
    })
  })

  it('reads the same in a picture three times as large', async () => {
    expect(await linesOf(service, await top().resize(1_500).png().toBuffer())).toEqual(TOP_LINES)
  })

  it('finds nothing in grey, in noise and in a gradient', async () => {
    let state = 7
    const noise = Uint8Array.from({ length: 400 * 300 * 3 }, () => {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
      return state >> 16
    })
    const gradient = noise.map((_, at) => (Math.floor(at / 3) % 400) / 2)
    const raw = { width: 400, height: 300, channels: 3 } as const
    for (const pixels of [noise, gradient, noise.map(() => 128)])
      expect(await answerOf(service, await sharp(pixels, { raw }).png().toBuffer())).toEqual({
        TextDetections: [],
        TextModelVersion: TEXT_MODEL_VERSION,
      })
  })

  it('finds nothing in characters that are not Latin, though its models read them', async () => {
    // 王田中日 as strokes, each from a point to another.
    const strokes = [
      ...[
        [20, 20, 100, 20],
        [28, 58, 92, 58],
        [16, 100, 104, 100],
        [60, 20, 60, 100],
      ],
      ...[
        [140, 20, 220, 20],
        [140, 60, 220, 60],
        [140, 100, 220, 100],
        [140, 20, 140, 100],
        [180, 20, 180, 100],
      ],
      ...[
        [220, 20, 220, 100],
        [260, 36, 340, 36],
        [260, 76, 340, 76],
        [260, 36, 260, 76],
        [340, 36, 340, 76],
      ],
      ...[
        [300, 12, 300, 108],
        [380, 20, 460, 20],
        [380, 60, 460, 60],
        [380, 100, 460, 100],
        [380, 20, 380, 100],
      ],
      [460, 20, 460, 100],
    ]
    const [width, height] = [560, 240]
    const pixels = Uint8Array.from({ length: width * height * 3 }, (_, at) => {
      const x = (Math.floor(at / 3) % width) - 40
      const y = Math.floor(at / 3 / width) - 60
      const isInk = ([left = 0, top = 0, right = 0, bottom = 0]: number[]) =>
        x > left - 5 && x < right + 5 && y > top - 5 && y < bottom + 5
      return strokes.some(isInk) ? 0 : 255
    })
    const raw = { width, height, channels: 3 } as const
    expect(await textOf(service, await sharp(pixels, { raw }).png().toBuffer())).toEqual([])
  })

  it('keeps to the words that the filters want, and to the lines of those', async () => {
    const word = { WordFilter: { MinBoundingBoxHeight: 0.095 } }
    expect(await linesOf(service, text, word)).toEqual([LINES[0]])
    expect(await wordsOf(service, text, { WordFilter: { MinBoundingBoxWidth: 0.3 } })).toEqual([LINES[3]])
    expect(await wordsOf(service, text, { WordFilter: { MinConfidence: 100 } })).toEqual([])
    // It has a third of `4711,`.
    const BoundingBox = { Left: 0, Top: 0.4, Width: 0.37, Height: 0.2 }
    const box = { RegionsOfInterest: [{ BoundingBox }] }
    expect(await wordsOf(service, text, box)).toEqual(['Invoice', 'No.'])
    const corner = [
      { X: 0, Y: 0 },
      { X: 0.45, Y: 0 },
      { X: 0, Y: 0.55 },
    ]
    const detections = await textOf(service, text, {
      RegionsOfInterest: [{ Polygon: corner }, { BoundingBox }],
    })
    expect(named('WORD', detections)).toEqual(['Hello', 'Invoice', 'No.'])
    expect(detections.map(({ Id }) => Id)).toEqual([0, 1, 2, 3, 4])
  })

  it.each([
    ['neither a box nor a polygon', [{}]],
    [
      'a polygon of two points',
      [
        {
          Polygon: [
            { X: 0, Y: 0 },
            { X: 1, Y: 1 },
          ],
        },
      ],
    ],
    ['a box beyond 1', [{ BoundingBox: { Left: 0, Top: 0, Width: 2, Height: 1 } }]],
  ])('refuses a region of interest with %s', async (_, RegionsOfInterest) => {
    await expect(answerOf(service, text, { RegionsOfInterest })).rejects.toMatchObject({
      name: 'InvalidParameterException',
    })
  })

  it('answers the same again, to the SDK', async () => {
    await withSdk(vision, async (client) => {
      const { $metadata: _, ...answer } = await client.send(new DetectTextCommand({ Image: { Bytes: text } }))
      expect(answer).toEqual(await answerOf(service, text))
    })
  })
})

it('each operation asks the models for its own alone, and once for the same picture', async () => {
  const asked: string[] = []
  const vision: Vision = {
    see: async ({ width, height }) => {
      asked.push('see')
      return { width, height, things: [], whole: [], faces: [] }
    },
    read: async ({ width, height }) => {
      asked.push('read')
      return { width, height, lines: [] }
    },
    moderate: async () => {
      asked.push('moderate')
      return { Neutral: 1 }
    },
    warm: () => {},
    stop: async () => {},
  }
  const service = createRekognition({ readObject, vision })
  await answerOf(service, text)
  await answerOf(service, text)
  expect(asked).toEqual(['read'])
  const Image = { Bytes: text.toString('base64') }
  await service('DetectLabels', { Image })
  await service('DetectFaces', { Image })
  expect(asked).toEqual(['read', 'see'])
  await service('DetectModerationLabels', { Image })
  await service('DetectModerationLabels', { Image, MinConfidence: 80 })
  expect(asked).toEqual(['read', 'see', 'moderate'])
})
