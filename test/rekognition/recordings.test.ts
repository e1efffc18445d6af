import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { RekognitionClient } from '@aws-sdk/client-rekognition'
import sharp from 'sharp'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { listen } from '../../packages/embedded-aws/gateway/index.ts'
import { createRecordings } from '../../packages/embedded-aws/index.ts'
import { createRekognition } from '../../rekognition/service.ts'
import { finished, MADE_UP_ANSWERS, type ShownImage, startTestSystem } from '../context.ts'
import { type System, startSystem } from '../system.ts'
import { SILENT } from '../tools.ts'

const fixture = (name: string): Buffer => readFileSync(join(import.meta.dirname, '../fixtures', name))
const photo = fixture('grace-hopper.jpg')
const crowd = fixture('crowd.png')
const PHOTO_FILE = 'a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130.json'

const undo: (() => unknown)[] = []
afterEach(async () => {
  vi.unstubAllEnvs()
  for (const step of undo.splice(0).reverse()) await step()
})
function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-recordings-'))
  undo.push(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** Speaks as the real service does. What it says is made up: as many faces as the picture has pixels across, up to 100. */
async function startFakeRekognition(refusal?: { __type: string; message: string }) {
  const calls: { operation: string; keyId: string; input: Record<string, unknown> }[] = []
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const operation = String(request.headers['x-amz-target']).split('.')[1] ?? ''
    const keyId = /Credential=([^/]+)/.exec(request.headers.authorization ?? '')?.[1] ?? ''
    const input = JSON.parse(body)
    calls.push({ operation, keyId, input })
    response.writeHead(refusal === undefined ? 200 : 400, { 'content-type': 'application/x-amz-json-1.1' })
    const { width } = await sharp(Buffer.from(input.Image.Bytes, 'base64')).metadata()
    response.end(JSON.stringify(refusal ?? answers(operation, width)))
  })
  const port = await listen(server, 0)
  const stop = () => {
    server.closeAllConnections()
    return new Promise((closed) => server.close(closed))
  }
  undo.push(stop)
  return { url: `http://127.0.0.1:${port}`, calls, stop }
}
const answers = (operation: string, width: number) =>
  ({
    DetectLabels: {
      Labels: [
        {
          Name: `A picture ${width} wide`,
          Confidence: 98.7,
          Instances: [{ BoundingBox: { Left: 0.1, Top: 0.2, Width: 0.3, Height: 0.4 }, Confidence: 98.7 }],
        },
      ],
      LabelModelVersion: '3.0',
    },
    DetectFaces: {
      FaceDetails: Array.from({ length: Math.min(100, width) }, (_, at) => ({
        BoundingBox: { Left: at / 100, Top: 0.1, Width: 0.01, Height: 0.01 },
        Confidence: 99.9,
        Emotions: [{ Type: 'HAPPY', Confidence: 90 - at / 2 }],
      })),
    },
    DetectModerationLabels: { ModerationLabels: [], ModerationModelVersion: '7.0' },
    DetectText: { TextDetections: [{ DetectedText: 'HELLO', Type: 'LINE' }], TextModelVersion: '3.0' },
  })[operation]

async function start(env: Record<string, string>): Promise<System> {
  const system = await startSystem(
    { REKOGNITION: 'stand-in', PORT: '0', AWS_PORT: '0', MAX_IMAGE_BYTES: '6000000', ...env },
    SILENT,
  )
  undo.push(system.stop)
  return system
}
async function analysed({ url }: System, bytes: Buffer): Promise<ShownImage & Record<string, unknown>> {
  const posted = await fetch(`${url}/images?analyses=labels,faces,moderation,text`, {
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream' },
    body: new Uint8Array(bytes),
  })
  const { imageId } = (await posted.json()) as { imageId: string }
  return finished(url, imageId)
}
const found = (image: Record<string, unknown>): object =>
  Object.fromEntries(Object.entries(image).filter(([name]) => /^rekognition/.test(name)))

/** The person's own credentials, and none of those of this machine. */
function credentials(AWS_ACCESS_KEY_ID?: string): void {
  vi.stubEnv('AWS_ACCESS_KEY_ID', AWS_ACCESS_KEY_ID)
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', AWS_ACCESS_KEY_ID)
  vi.stubEnv('AWS_PROFILE', undefined)
  vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', '/nowhere/credentials')
  vi.stubEnv('AWS_CONFIG_FILE', '/nowhere/config')
  vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true')
}

describe('recordings', () => {
  it('of the real service are replayed without it, and say what they are', async () => {
    credentials('THEIRS')
    const RECORDINGS = join(newFolder(), 'recordings')
    const real = await startFakeRekognition()
    const recording = await start({
      REKOGNITION: 'record',
      RECORDINGS,
      AWS_ENDPOINT_URL_REKOGNITION: real.url,
    })
    expect(recording.rekognition).toBe(`${real.url}, recorded in ${RECORDINGS}`)
    // Rekognition takes no WebP, so of this one a JPEG is recorded.
    const webp = await sharp({ create: { width: 90, height: 80, channels: 3, background: 'red' } })
      .webp()
      .toBuffer()
    // And of one over 5 MB, though the stand-in would take it from S3.
    const large = Buffer.concat([photo, Buffer.alloc(5_300_000)])
    const originals = [photo, crowd, webp, large]
    const before = await Promise.all(originals.map((bytes) => analysed(recording, bytes)))
    expect(
      before.map(({ labelModelVersion, rekognitionFaces }) => [labelModelVersion, rekognitionFaces?.length]),
    ).toEqual([
      ['3.0', 100],
      ['3.0', 100],
      ['3.0', 90],
      ['3.0', 100],
    ])
    expect(real.calls).toHaveLength(16)
    expect(
      real.calls.every(
        ({ keyId, input }) => keyId === 'THEIRS' && JSON.stringify(input).includes('"Bytes":'),
      ),
    ).toBe(true)
    await recording.stop()
    await real.stop()

    expect(readdirSync(RECORDINGS)).toHaveLength(4)
    const path = join(RECORDINGS, PHOTO_FILE)
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(JSON.parse(readFileSync(path, 'utf8')).answers).toContainEqual({
      operation: 'DetectLabels',
      asked: { MinConfidence: 55, MaxLabels: 100 },
      answer: answers('DetectLabels', 512),
      recorded: { at: expect.stringMatching(/Z$/), region: 'us-east-1' },
    })

    const replaying = await start({ RECORDINGS })
    expect(replaying.rekognition).toBe(`recordings in ${RECORDINGS} (4), else the stand-in`)
    const after = await Promise.all(originals.map((bytes) => analysed(replaying, bytes)))
    expect(after.map(found)).toEqual(before.map(found))
    for (const image of after) {
      expect(image).toMatchObject({
        labelModelVersion: 'recorded 3.0',
        moderationModelVersion: 'recorded 7.0',
        textModelVersion: 'recorded 3.0',
      })
    }
    expect(real.calls).toHaveLength(16)
    const other = await sharp(photo).negate().png().toBuffer()
    expect(await analysed(replaying, other)).toMatchObject({ labelModelVersion: 'stand-in' })
  })

  it('are not paid for again, and another question is asked anew', async () => {
    const folder = newFolder()
    const real = await startFakeRekognition()
    const client = new RekognitionClient({
      ...{ endpoint: real.url, region: 'eu-west-1' },
      credentials: { accessKeyId: 'a', secretAccessKey: 'a' },
    })
    const readObject = async () => crowd
    const service = createRekognition({
      readObject,
      recall: createRecordings({ folder, real: { client, region: 'eu-west-1' } }),
    })
    const Image = { S3Object: { Bucket: 'images', Name: 'a' } }
    const both = [service('DetectFaces', { Image }), service('DetectText', { Image })]
    await Promise.all(both)
    expect(await service('DetectText', { Image })).toMatchObject({ TextModelVersion: 'recorded 3.0' })
    expect(real.calls).toHaveLength(2)
    await service('DetectFaces', { Image, Attributes: ['ALL'] })
    expect(real.calls.map(({ input }) => input['Attributes'])).toEqual([undefined, undefined, ['ALL']])

    const replay = createRekognition({ readObject, recall: createRecordings({ folder }) })
    expect(await replay('DetectFaces', { Image, Attributes: ['ALL'] })).toEqual(answers('DetectFaces', 1200))
    expect(await replay('DetectFaces', { Image, Attributes: ['DEFAULT'] })).toEqual({ FaceDetails: [] })
  })

  it('are not made of refusals, which keep their names', async () => {
    const folder = newFolder()
    const real = await startFakeRekognition({ __type: 'AccessDeniedException', message: 'You may not.' })
    const client = new RekognitionClient({
      ...{ endpoint: real.url, region: 'eu-west-1', maxAttempts: 1 },
      credentials: { accessKeyId: 'a', secretAccessKey: 'a' },
    })
    const recall = createRecordings({ folder, real: { client, region: 'eu-west-1' } })
    await expect(recall('DetectFaces', {}, photo)).rejects.toMatchObject({
      name: 'AccessDeniedException',
      message: 'You may not.',
      status: 400,
    })
    expect(readdirSync(folder)).toEqual([])
  })

  it('that are damaged are refused by name', async () => {
    const folder = newFolder()
    const recall = createRecordings({ folder })
    const whole = JSON.parse(readFileSync(join(MADE_UP_ANSWERS, PHOTO_FILE), 'utf8'))
    for (const [text, why] of [
      ['{', /cannot be read \(.*JSON/],
      [JSON.stringify({ ...whole, madeUp: undefined }), /Each answer says when and where/],
      [
        JSON.stringify({ ...whole, answers: [{ ...whole.answers[0], answer: {} }] }),
        /answers\.0\.answer\.Labels/,
      ],
      [JSON.stringify({ ...whole, more: 1 }), /more/],
    ] as const) {
      writeFileSync(join(folder, PHOTO_FILE), text)
      const refused = await recall('DetectText', {}, photo).catch((error) => error)
      expect(refused).toMatchObject({ name: 'InternalServerError', status: 500 })
      expect(refused.message).toContain(join(folder, PHOTO_FILE))
      expect(refused.message).toMatch(why)
    }
  })

  it('that are made up say so, and go the whole way to record and event', async () => {
    const system = await startTestSystem({
      rekognition: { recall: createRecordings({ folder: MADE_UP_ANSWERS }) },
    })
    undo.push(system.stop)
    const ids = [await system.submit(photo), await system.submit(crowd)]
    await system.work()
    const [one, many] = await Promise.all(ids.map(system.record))
    expect(one).toMatchObject({
      labelModelVersion: 'made up 3.0',
      rekognitionLabels: expect.arrayContaining([expect.objectContaining({ Name: 'Hat' })]),
      rekognitionFaces: [expect.objectContaining({ AgeRange: { Low: 70, High: 80 } })],
    })
    expect(many?.rekognitionFaces).toHaveLength(100)
    const events = await system.events()
    const emotions = Object.fromEntries(events.map((event) => [event.imageId, event.emotions]))
    expect(emotions[ids[0] ?? '']).toEqual(['CALM'])
    expect(emotions[ids[1] ?? '']?.sort()).toEqual(['CALM', 'HAPPY', 'SAD'])
  })

  it('are looked for where they are said to be', async () => {
    const RECORDINGS = join(newFolder(), 'none')
    await expect(start({ RECORDINGS })).rejects.toThrow(
      `There are no recordings in ${RECORDINGS}; REKOGNITION=record makes some.`,
    )
    const INIT_CWD = join(MADE_UP_ANSWERS, '..')
    expect((await start({ INIT_CWD, RECORDINGS: 'answers' })).rekognition).toBe(
      `recordings in ${MADE_UP_ANSWERS} (2), else the stand-in`,
    )
  })
})

it.each(['aws', 'record'])(
  'REKOGNITION=%s without credentials does not start, and says what to do',
  async (REKOGNITION) => {
    credentials()
    await expect(start({ REKOGNITION })).rejects.toThrow(
      /^Amazon Rekognition needs your AWS credentials: log in with "aws sso login"/,
    )
  },
)
