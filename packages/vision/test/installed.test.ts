import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { loadAdded } from '../added.ts'
import { labelModelVersion, labelsOf } from '../answers.ts'
import { modelFolder } from '../built-in.ts'
import { addModel, readInstalled, readModel, removeModel } from '../installed.ts'
import { type Manifest, manifestSchema } from '../manifest.ts'
import { type Values, writeModel } from '../onnx.ts'

/** Distinguishes red from blue by the mean of each: 10 · (red − blue), and the other way round. */
const redOrBlue = writeModel({
  inputs: [{ name: 'picture', dims: [1, 3, 8, 8] }],
  outputs: ['scores'],
  nodes: [
    { op: 'GlobalAveragePool', inputs: ['picture'], outputs: ['mean'] },
    { op: 'Flatten', inputs: ['mean'], outputs: ['colour'] },
    { op: 'MatMul', inputs: ['colour', 'weights'], outputs: ['scores'] },
  ],
  constants: new Map([['weights', { dims: [3, 2], values: Float32Array.of(10, -10, 0, 0, -10, 10) }]]),
})
/** Finds the same two boxes everywhere, and a third of a class that it has no name for. */
const twoBoxes = (() => {
  const constants = new Map<string, { dims: number[]; values: Values }>([
    ['none', { dims: [1], values: Float32Array.of(0) }],
    ['corners', { dims: [3, 4], values: Float32Array.of(0, 0, 4, 8, 4, 4, 8, 8, 0, 0, 1, 1) }],
    ['sure', { dims: [3], values: Float32Array.of(0.95, 0.1, 0.95) }],
    ['of', { dims: [3], values: Float32Array.of(1, 0, 7) }],
    ['axes', { dims: [4], values: BigInt64Array.of(0n, 1n, 2n, 3n) }],
  ])
  const plus = (input: string, output: string) => ({
    op: 'Add',
    inputs: [input, 'nothing'],
    outputs: [output],
  })
  return writeModel({
    inputs: [{ name: 'picture', dims: [1, 3, 8, 8] }],
    outputs: ['boxes', 'scores', 'classes'],
    nodes: [
      { op: 'Mul', inputs: ['picture', 'none'], outputs: ['black'] },
      {
        op: 'ReduceSum',
        inputs: ['black', 'axes'],
        outputs: ['nothing'],
        attributes: { keepdims: { int: 0 } },
      },
      ...[plus('corners', 'boxes'), plus('sure', 'scores'), plus('of', 'classes')],
    ],
    constants,
  })
})()

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
const manifest = {
  ...{ name: 'red-or-blue', version: '1.0', file: 'model.onnx', sha256: sha256(redOrBlue) },
  ...{ licence: 'MIT', source: 'https://example.com/red-or-blue' },
  input: { size: 8, layout: 'NCHW', deviation: [255, 255, 255] },
  output: { kind: 'classifier', scores: 'scores', activation: 'sigmoid' },
  classes: [
    { name: 'Red', parents: ['Warm Colour'], categories: ['Colours'] },
    { name: 'Blue', parents: ['Cold Colour'], categories: ['Colours'] },
  ],
  curve: [
    [0.9, 60],
    [1, 99],
  ],
}
const plain = (red: number, green: number, blue: number, width = 40, height = 20) => ({
  data: Uint8Array.from({ length: width * height * 3 }, (_, at) => [red, green, blue][at % 3] ?? 0),
  ...{ width, height },
})

/** What the server gives, by path: bytes, or another address. */
const served = new Map<string, Uint8Array | string>()
const server = createServer((request, response) => {
  const content = served.get(request.url ?? '')
  if (content === undefined) response.writeHead(404).end()
  else if (typeof content === 'string') response.writeHead(302, { location: content }).end()
  else response.end(content)
})
let origin = ''
let folder = ''
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(() => new Promise((resolve) => server.close(resolve)))
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'image-analyzer-models-'))
})
afterEach(() => {
  served.clear()
  rmSync(folder, { recursive: true })
})
const serve = (given: object, model: Uint8Array = redOrBlue): string => {
  served.set('/m/manifest.json', Buffer.from(JSON.stringify(given)))
  served.set('/m/model.onnx', model)
  return `${origin}/m/manifest.json`
}

const isThere = modelFolder() !== undefined
const test = (name: string, work: () => unknown): void =>
  it.skipIf(!isThere)(`${name}${isThere ? '' : ' (skipped: lacking the models and their runtime)'}`, work)

it('the example in test/fixtures is the model that is made here', () => {
  const example = new URL('../../../test/fixtures/red-or-blue/', import.meta.url)
  expect(Buffer.from(redOrBlue).equals(readFileSync(new URL('model.onnx', example)))).toBe(true)
  expect(JSON.parse(readFileSync(new URL('manifest.json', example), 'utf8'))).toEqual(manifest)
})

test('a model is added from a URL or a folder, names what it sees, and is removed', async () => {
  expect(await addModel(serve(manifest), folder)).toMatchObject({ name: 'red-or-blue' })
  const [installed, ...others] = readInstalled(folder)
  expect(others).toEqual([])
  if (installed === undefined) throw new Error('nothing is installed')
  const model = await loadAdded(installed.manifest, readModel(installed))
  const see = async (red: number, green: number, blue: number) => {
    const sight = {
      ...plain(red, green, blue),
      things: [],
      whole: [],
      faces: [],
      added: [] as Awaited<ReturnType<typeof model>>[],
    }
    sight.added.push(await model(plain(red, green, blue)))
    expect(labelModelVersion(sight)).toBe(
      'local-1 (nanodet-g coco80, efficientnet-lite0 imagenet1k, red-or-blue 1.0)',
    )
    return labelsOf(sight)
  }
  const none = { Instances: [], Aliases: [], Categories: [{ Name: 'Colours' }] }
  expect(await see(250, 0, 0)).toMatchObject([
    { Name: 'Red', Parents: [{ Name: 'Warm Colour' }], ...none },
    { Name: 'Warm Colour', Parents: [], ...none },
  ])
  expect((await see(0, 0, 250))[0]).toMatchObject({ Name: 'Blue', Confidence: expect.closeTo(96.1, 0) })
  expect(await see(128, 128, 128)).toEqual([])

  await expect(addModel(`${origin}/m/`, folder)).rejects.toThrow(
    'red-or-blue is already installed; remove it first by "npm run models --',
  )
  removeModel('red-or-blue', folder)
  expect(readdirSync(folder)).toEqual([])
  writeFileSync(join(folder, 'manifest.json'), JSON.stringify(manifest))
  writeFileSync(join(folder, 'model.onnx'), redOrBlue)
  const other = mkdtempSync(join(folder, 'other-'))
  await addModel(folder, other)
  expect(readInstalled(other)).toHaveLength(1)
  expect(readInstalled(folder)).toMatchObject([{ file: join(folder, 'model.onnx') }])
})

test('a class with a curve of its own is said by that', async () => {
  const [red, blue] = manifest.classes
  const sure = {
    ...red,
    curve: [
      [0.5, 70],
      [1, 70],
    ],
  }
  const own: Manifest = manifestSchema.parse({ ...manifest, classes: [sure, blue] })
  const model = await loadAdded(own, redOrBlue)
  expect((await model(plain(128, 128, 128))).found).toMatchObject([
    { entry: { name: 'Red' }, confidence: 70 },
  ])
  expect((await model(plain(0, 0, 250))).found).toMatchObject([
    { entry: { name: 'Blue' }, confidence: expect.closeTo(96.1, 0) },
  ])
})

test('the boxes of a detector lie in the picture, whichever its shape', async () => {
  const output = {
    ...{ kind: 'detector', boxes: 'boxes', scores: 'scores', classes: 'classes' },
    ...{ order: 'left top right bottom', unit: 'pixels' },
  }
  const detector: Manifest = manifestSchema.parse({ ...manifest, output, sha256: sha256(twoBoxes) })
  const { found } = await (await loadAdded(detector, twoBoxes))(plain(9, 9, 9))
  // A square of 40 pixels a side around 40 × 20: the left half of it, as far as there is a picture.
  expect(found).toMatchObject([{ entry: { name: 'Blue' }, box: { left: 0, top: 0, right: 20, bottom: 20 } }])
  const turned = manifestSchema.parse({ ...detector, output: { ...output, order: 'top left bottom right' } })
  const other = await (await loadAdded(turned, twoBoxes))(plain(9, 9, 9))
  expect(other.found[0]?.box).toEqual({ left: 0, top: 0, right: 40, bottom: 10 })
})

const json =
  (more: object): (() => Promise<unknown>) =>
  () =>
    addModel(serve({ ...manifest, ...more }), folder)
const refused: [string, string | RegExp, () => Promise<unknown>][] = [
  ['a file with another checksum', 'its SHA-256 is not the expected one', json({ sha256: '0'.repeat(64) })],
  [
    'what is no ONNX',
    /not an ONNX model that runs here/,
    () => {
      const text = Buffer.from('a text')
      return addModel(serve({ ...manifest, sha256: sha256(text) }, text), folder)
    },
  ],
  [
    'a model of other classes',
    'scores 2 classes, and its manifest names 1',
    json({ classes: [{ name: 'Red' }] }),
  ],
  [
    'a model without that output',
    'as its manifest says',
    json({ output: { ...manifest.output, scores: 'x' } }),
  ],
  [
    'a model of another size',
    'does not run as its manifest',
    json({ input: { ...manifest.input, size: 16 } }),
  ],
  ['a file elsewhere', /file: must be the plain name/, json({ file: '../model.onnx' })],
  ['a file at another server', /file: must be the plain name/, json({ file: 'https://evil.test/x' })],
  ['a name that leads elsewhere', /name: must consist of a-z/, json({ name: '../x' })],
  [
    'a curve that falls',
    /curve: must rise/,
    json({
      curve: [
        [0.5, 90],
        [0.9, 50],
      ],
    }),
  ],
  ['a label that is markup', /classes\.0\.name: is no name of a label/, json({ classes: [{ name: '<b>' }] })],
  ['what it does not know', /is not a manifest of a model/, json({ run: 'x' })],
  [
    'what is no JSON',
    'is no JSON',
    () => {
      served.set('/x.json', Buffer.from('{'))
      return addModel(`${origin}/x.json`, folder)
    },
  ],
  [
    'a manifest that is too large',
    'has more than 2000000 bytes',
    () => {
      served.set('/x.json', Buffer.alloc(2_000_001, 32))
      return addModel(`${origin}/x.json`, folder)
    },
  ],
  [
    'http from elsewhere, also after a redirect',
    'http://example.com/manifest.json is not fetched: the URL must be https',
    async () => {
      served.set('/x.json', 'http://example.com/manifest.json')
      await expect(addModel('http://example.com/m.json', folder)).rejects.toThrow('must be https')
      return addModel(`${origin}/x.json`, folder)
    },
  ],
  ['another protocol', 'is not fetched', () => addModel('file:///etc/manifest.json', folder)],
  [
    'redirects without end',
    'redirects too often',
    () => {
      served.set('/x.json', '/x.json')
      return addModel(`${origin}/x.json`, folder)
    },
  ],
  ['what is not there', 'answers 404', () => addModel(`${origin}/none.json`, folder)],
  ['a folder that is not there', 'cannot be read', () => addModel(join(folder, 'none'), folder)],
]
for (const [what, why, add] of refused) {
  test(`${what} is refused in a sentence, and leaves nothing behind`, async () => {
    await expect(add()).rejects.toThrow(why)
    expect(readdirSync(folder)).toEqual([])
  })
}

test('only what was added is removed, and a file that has changed since is not used', async () => {
  const elsewhere = mkdtempSync(join(folder, 'elsewhere-'))
  writeFileSync(join(elsewhere, 'manifest.json'), '{}')
  const within = join(folder, 'models')
  const way = `../${basename(elsewhere)}`
  expect(() => removeModel(way, within)).toThrow(`There is no "${way}" in`)
  expect(readdirSync(elsewhere)).toHaveLength(1)
  rmSync(elsewhere, { recursive: true })
  expect(() => removeModel('none', folder)).toThrow('There is no "none" in')
  await addModel(serve(manifest), folder)
  writeFileSync(join(folder, 'red-or-blue', 'model.onnx'), 'damaged')
  const [installed] = readInstalled(folder)
  expect(() => installed && readModel(installed)).toThrow('its SHA-256 is not the expected one')
})
