import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { listen } from '../../packages/embedded-aws/gateway/index.ts'
import { createVision, isInstalled, readInstalled } from '../../packages/vision/index.ts'
import { createRekognition } from '../../rekognition/service.ts'
import { until } from '../context.ts'
import { launch, newFolder, root } from '../started.ts'
import { startSystem } from '../system.ts'
import { SILENT, skipped } from '../tools.ts'

/** A model of a few hundred bytes that distinguishes red from blue; packages/vision/test makes it. */
const example = join(root, 'test/fixtures/red-or-blue')
const red = () =>
  sharp({ create: { width: 320, height: 240, channels: 3, background: '#f00' } })
    .png()
    .toBuffer()

/** `npm run models`, to its end. */
async function models(folder: string, ...args: string[]): Promise<{ code: number | null; output: string }> {
  const running = launch({ VISION_MODELS: folder }, args, 'packages/vision/models-main.ts')
  await until('the end', async () => running.process.exitCode ?? undefined)
  return { code: running.process.exitCode, output: running.output() }
}

/** The example as it is once it is added. */
function folderOfOne(): string {
  const folder = newFolder()
  mkdirSync(join(folder, 'red-or-blue'))
  for (const file of readdirSync(example))
    copyFileSync(join(example, file), join(folder, 'red-or-blue', file))
  return folder
}

const lacking = isInstalled() ? [] : ['the models']
describe.skipIf(lacking.length > 0)(`a model that is added${skipped(lacking)}`, () => {
  it('comes from a server, and is there until it is removed', async () => {
    const server = createServer((request, response) => {
      const file = join(example, request.url?.slice(1) ?? '')
      if (existsSync(file)) response.end(readFileSync(file))
      else response.writeHead(404).end()
    })
    const port = await listen(server, 0)
    const folder = join(newFolder(), 'models')
    expect(await models(folder, 'add', `http://127.0.0.1:${port}/manifest.json`)).toEqual({
      code: 0,
      output: `red-or-blue 1.0 is added in ${folder}.\n`,
    })
    server.close()

    // With these files test/rekognition/rekognition-alone.test.ts has its answers.
    const added = join(folder, 'red-or-blue')
    expect(readdirSync(added).sort()).toEqual(readdirSync(example).sort())
    for (const file of readdirSync(example)) {
      const [there, given] = [added, example].map((each) => readFileSync(join(each, file)))
      if (file.endsWith('.json')) expect(JSON.parse(String(there))).toMatchObject(JSON.parse(String(given)))
      else expect(given?.equals(there as Buffer), file).toBe(true)
    }

    const list = await models(folder, 'list')
    expect(list.output).toMatch(
      /^nanodet-g coco80 +Apache-2\.0 +https:.*^red-or-blue 1\.0 +MIT +https:.*^1 added in /ms,
    )
    expect(await models(folder, 'remove', 'red-or-blue')).toMatchObject({ code: 0 })
    expect(readdirSync(folder)).toEqual([])
  })

  it('is named by npm start, which measures pixels where its manifest is damaged', async () => {
    const folder = folderOfOne()
    const who = async (more: object = {}): Promise<string> => {
      const env = { REKOGNITION: 'local', PORT: '0', AWS_PORT: '0', VISION_MODELS: folder }
      const system = await startSystem(env, { ...SILENT, ...more })
      await system.stop()
      return system.rekognition
    }
    expect(await who()).toBe('local models and red-or-blue 1.0')
    writeFileSync(join(folder, 'red-or-blue/manifest.json'), '{}')
    const said: string[] = []
    expect(await who({ warn: (sentence: string) => said.push(sentence) })).toBe('the stand-in')
    expect(said).toEqual([
      expect.stringMatching(
        /^The models cannot be used, so the stand-in .* is not a manifest of a model: name: /,
      ),
    ])
  })

  it('is the end of all models where its file is damaged, and the sentence names it', async () => {
    const folder = folderOfOne()
    const added = readInstalled(folder)
    writeFileSync(join(folder, 'red-or-blue/model.onnx'), 'damaged')
    const vision = createVision({ threads: 1, added })
    const said: string[] = []
    const service = createRekognition({
      ...{ readObject: async () => undefined, vision, onVisionLost: (why) => said.push(why) },
    })
    const Image = { Bytes: (await red()).toString('base64') }
    expect(await service('DetectLabels', { Image })).toMatchObject({ LabelModelVersion: 'stand-in' })
    expect(said).toEqual([
      `${join(folder, 'red-or-blue/model.onnx')} is not the file that the manifest of red-or-blue means: its SHA-256 is not the expected one; "npm run models -- remove red-or-blue" continues without it.`,
    ])
    await vision.stop()
  })
})

it('npm run models says in a sentence what is wrong, and how it is used', async () => {
  const folder = join(newFolder(), 'models')
  const [usage, http, rekognition] = await Promise.all([
    models(folder, 'install'),
    models(folder, 'add', 'http://models.test/manifest.json'),
    launch({ REKOGNITION: 'local' }, ['--port', '0', '--models', folder], 'rekognition/main.ts'),
  ])
  expect(usage).toMatchObject({ code: 2, output: expect.stringMatching(/^npm run models -- list \| add/) })
  expect(http).toEqual({
    code: 1,
    output:
      'http://models.test/manifest.json is not fetched: the URL must be https, or http from this machine.\n',
  })
  await until('the end', async () => rekognition.process.exitCode ?? undefined)
  expect(rekognition.output().trim()).toBe(
    `Rekognition cannot start: There are no models at ${folder}; set VISION_MODELS to a folder that is there, or leave it out.`,
  )
  expect(existsSync(folder)).toBe(false)
})
