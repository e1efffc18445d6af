import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import Module from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DetectModerationLabelsCommand } from '@aws-sdk/client-rekognition'
import sharp from 'sharp'
import { afterAll, describe, expect, it, onTestFinished } from 'vitest'
import {
  createVision,
  hasModeration,
  isInstalled,
  type Moderation,
  type Vision,
} from '../../packages/vision/index.ts'
import { createRekognition } from '../../rekognition/service.ts'
import { finished } from '../context.ts'
import { newFolder, post } from '../started.ts'
import { startQuietly } from '../system.ts'
import { skipped } from '../tools.ts'
import { withSdk } from './vision-sdk.ts'

const photo = readFileSync(join(import.meta.dirname, '../fixtures/grace-hopper.jpg'))
const sign = readFileSync(join(import.meta.dirname, '../../local/samples/sign.jpg'))
const readObject = async () => undefined
const image = (bytes: Uint8Array) => ({ Image: { Bytes: Buffer.from(bytes).toString('base64') } })
const label = (Name: string, Confidence: number) => ({ Name, Confidence, ParentName: '', TaxonomyLevel: 1 })
const NOT_LOOKED_AT = { ModerationLabels: [], ModerationModelVersion: 'stand-in', ContentTypes: [] }

/** What is answered where the model says so. */
async function answered(moderation: Moderation, asked: object = {}): Promise<unknown> {
  const vision: Vision = {
    see: () => Promise.reject(new Error('Not asked.')),
    read: () => Promise.reject(new Error('Not asked.')),
    moderate: async () => moderation,
    warm: () => {},
    stop: async () => {},
  }
  const { ModerationLabels, ...rest } = (await createRekognition({ readObject, vision })(
    'DetectModerationLabels',
    { ...image(photo), ...asked },
  )) as { ModerationLabels: object[] }
  expect(rest).toEqual({ ModerationModelVersion: 'local-1 (nsfwjs mid)', ContentTypes: [] })
  return ModerationLabels
}

describe('DetectModerationLabels', () => {
  it('says Explicit of pornography, photographed and drawn together, and Suggestive of nudes and swimwear', async () => {
    expect(await answered({ Neutral: 0.15, Hentai: 0.25, Porn: 0.5, Sexy: 0.1 })).toEqual([
      label('Explicit', 75),
    ])
    expect(await answered({ Sexy: 0.9, Porn: 0.1 })).toEqual([label('Suggestive', 90)])
    expect(await answered({ Porn: 1 })).toEqual([label('Explicit', 99.99)])
  })

  it('says nothing of what is harmless, drawings among it', async () => {
    expect(await answered({ Drawing: 0.7, Neutral: 0.3 })).toEqual([])
    expect(await answered({ Drawing: 0.51, Hentai: 0.49 })).toEqual([])
  })

  it('answers the surer first, from 50 on or from what is asked for', async () => {
    const torn = { Hentai: 0.2, Porn: 0.2, Sexy: 0.6 }
    expect(await answered(torn)).toEqual([label('Suggestive', 60)])
    expect(await answered(torn, { MinConfidence: 40 })).toEqual([
      label('Suggestive', 60),
      label('Explicit', 40),
    ])
    expect(await answered(torn, { MinConfidence: 61 })).toEqual([])
  })

  it('looks for nothing, and says so once, where the files of the model cannot be read', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-moderation-'))
    const vision = createVision({ threads: 1, moderationFolder: folder })
    const said: string[] = []
    const service = createRekognition({ readObject, vision, onModerationLost: (why) => said.push(why) })
    expect(await service('DetectModerationLabels', image(photo))).toEqual(NOT_LOOKED_AT)
    expect(await service('DetectModerationLabels', image(sign))).toEqual(NOT_LOOKED_AT)
    expect(said).toEqual([
      expect.stringMatching(
        /model\.min\.js cannot be read .*; "npm install --no-save --legacy-peer-deps nsfwjs@4\.4\.0" installs it again\.$/,
      ),
    ])
    await vision.stop()
    rmSync(folder, { recursive: true })
  })
})

const lacking = isInstalled() ? [] : ['the models']
/** Where this process finds nsfwjs until the end of the test: nowhere, or in a folder that has nothing in it. */
function putNsfwjs(folder?: string): void {
  const loader = Module as unknown as { _resolveFilename: (name: string, ...more: unknown[]) => string }
  const resolve = loader._resolveFilename
  onTestFinished(() => {
    loader._resolveFilename = resolve
  })
  loader._resolveFilename = (name, ...more) => {
    if (name !== 'nsfwjs') return resolve(name, ...more)
    if (folder !== undefined) return `${folder}/dist/cjs/index.js`
    throw Object.assign(new Error('There is no such package.'), { code: 'MODULE_NOT_FOUND' })
  }
}

it.skipIf(lacking.length > 0)(
  `npm start without nsfwjs looks for nothing, says in one sentence how it would, and with it looks again${skipped(lacking)}`,
  async () => {
    const settings = { REKOGNITION: 'local', DATA_DIR: newFolder() }
    const asked = '?analyses=moderation'
    putNsfwjs()
    const { system, said } = await startQuietly(settings)
    const first = await finished(system.url, await post(system.url, photo, asked))
    expect(first).toMatchObject({
      ...{ status: 'completed', rekognitionModerationLabels: [], moderationModelVersion: 'stand-in' },
    })
    expect(await finished(system.url, await post(system.url, photo, asked))).toMatchObject({ reused: true })
    await finished(system.url, await post(system.url, sign, asked))
    const sentence =
      'The moderation model cannot be used, so DetectModerationLabels finds nothing and names "stand-in" as its model: nsfwjs is not installed; ' +
      'install it by "npm install --no-save --legacy-peer-deps nsfwjs@4.4.0" and start again.'
    expect(said).toEqual([sentence])
    expect(system.explanation).toContain('expressions, text; ')
    await system.stop()

    putNsfwjs(newFolder())
    const next = await startQuietly(settings)
    expect(await finished(next.system.url, await post(next.system.url, photo, asked))).not.toHaveProperty(
      'reused',
    )
    expect(next.system.explanation).toContain('expressions, text, moderation; ')
    expect(next.said).toEqual([expect.stringContaining('model.min.js cannot be read')])
  },
)

const where = hasModeration() && isInstalled() ? '' : ' (skipped: nsfwjs is not installed)'
describe.skipIf(where !== '')(`with nsfwjs, DetectModerationLabels${where}`, () => {
  const vision = createVision({ threads: 1 })
  afterAll(vision.stop)

  it('scores harmless pictures as the original does in TensorFlow.js, and says nothing of them', async () => {
    // Drawing, hentai, neutral, porn and sexy, of the same 224 × 224 points.
    const original: [Buffer, ...number[]][] = [
      [photo, 0.1587, 0.0004, 0.8409, 0, 0],
      [sign, 0.014, 0.003, 0.983, 0, 0.0001],
      [
        readFileSync(join(import.meta.dirname, '../../local/samples/cat.jpg')),
        0.7001,
        0.0108,
        0.2817,
        0.0057,
        0.0016,
      ],
    ]
    for (const [bytes, ...scores] of original) {
      const { data, info } = await sharp(bytes).autoOrient().removeAlpha().raw().toBuffer({
        resolveWithObject: true,
      })
      const moderation = await vision.moderate({ data, width: info.width, height: info.height })
      expect(Object.keys(moderation)).toEqual(['Drawing', 'Hentai', 'Neutral', 'Porn', 'Sexy'])
      for (const [at, score] of Object.values(moderation).entries())
        expect(Math.abs(score - (scores[at] ?? 0))).toBeLessThan(0.02)
    }
  })

  it('answers the SDK', async () => {
    await withSdk(vision, async (client) => {
      const asked = { Image: { Bytes: photo } }
      expect(await client.send(new DetectModerationLabelsCommand(asked))).toMatchObject({
        ...{ ModerationLabels: [], ModerationModelVersion: 'local-1 (nsfwjs mid)', ContentTypes: [] },
      })
      const all = await client.send(new DetectModerationLabelsCommand({ ...asked, MinConfidence: 0 }))
      expect(all.ModerationLabels?.map(({ Name }) => Name).sort()).toEqual(['Explicit', 'Suggestive'])
    })
  })
})
