import {
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp, { type Sharp } from 'sharp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { modelFolder } from '../built-in.ts'
import { createVision, type Label, labelsOf, NotUsable, type Picture, type Sight } from '../index.ts'
import { type Box, overlap } from '../pixels.ts'
import { kinds } from '../taxonomy.ts'

const KINDS = kinds().map(({ name }) => name)
const folder = modelFolder()
const lacking = folder === undefined ? ' (skipped: lacking the models and their runtime)' : ''

/** A photo of 512 × 600: a woman in uniform before a flag, to her hips. */
const photo = (): Sharp =>
  sharp(readFileSync(join(import.meta.dirname, '../../../test/fixtures/grace-hopper.jpg'))).autoOrient()

async function pixelsOf(image: Sharp): Promise<Picture> {
  const { data, info } = await image.removeAlpha().raw().toBuffer({ resolveWithObject: true })
  return { data, width: info.width, height: info.height }
}

/** The sides of a box as parts of the picture. */
const partsOf = ({ left, top, right, bottom }: Box, { width, height }: Sight): Box => ({
  ...{ left: left / width, right: right / width },
  ...{ top: top / height, bottom: bottom / height },
})
const mirror = ({ left, top, right, bottom }: Box): Box => ({ left: 1 - right, top, right: 1 - left, bottom })
const personIn = (sight: Sight): Box => {
  const boxes = sight.things.filter(({ kind }) => KINDS[kind] === 'Person').map(({ box }) => box)
  expect(boxes).toHaveLength(1)
  return partsOf(boxes[0] as Box, sight)
}
const faceIn = (sight: Sight): Sight['faces'][number] => {
  expect(sight.faces).toHaveLength(1)
  return sight.faces[0] as Sight['faces'][number]
}
const confidences = (sight: Sight): Record<string, number> =>
  Object.fromEntries(labelsOf(sight).map(({ Name, Confidence }) => [Name, Confidence]))

describe.skipIf(folder === undefined)(`with its models${lacking}`, () => {
  /** A thread that ends where it would reach beyond itself. */
  const script = new URL(
    `data:text/javascript,${encodeURIComponent(`
      import dgram from 'node:dgram'
      import dns from 'node:dns'
      import { syncBuiltinESMExports } from 'node:module'
      import net from 'node:net'
      const end = () => process.exit(1)
      net.Socket.prototype.connect = net.Server.prototype.listen = dgram.Socket.prototype.send = end
      for (const name of Object.keys(dns)) if (/^(lookup|resolve)/.test(name)) dns[name] = dns.promises[name] = end
      syncBuiltinESMExports()
      await import(${JSON.stringify(new URL('../worker.ts', import.meta.url).href)})`)}`,
  )
  const vision = createVision({ threads: 2, script })
  afterAll(vision.stop)
  let both: PromiseSettledResult<Sight>[]
  let seen: Sight
  beforeAll(async () => {
    const picture = await pixelsOf(photo())
    both = await Promise.allSettled([vision.see(picture), vision.see(picture)])
    seen = (both[0] as PromiseFulfilledResult<Sight>).value
  })

  it('finds one person and one face in a photo, where they are, and the head is straight', () => {
    const { Person = 0, Face = 0 } = confidences(seen)
    expect(Person).toBeGreaterThanOrEqual(90)
    expect(Face).toBeGreaterThanOrEqual(90)
    const person = { left: 0.025, top: 0.015, right: 1, bottom: 1 }
    expect(overlap(personIn(seen), person)).toBeGreaterThanOrEqual(0.9)
    const face = { left: 0.3286, top: 0.2133, right: 0.6948, bottom: 0.5524 }
    expect(overlap(partsOf(faceIn(seen).box, seen), face)).toBeGreaterThanOrEqual(0.9)
    expect(Math.abs(faceIn(seen).pose.roll)).toBeLessThan(6)
  })

  it('names what a picture is of as a whole, by kinds that the detector lacks, and no such name reaches 80', async () => {
    const cat = sharp(readFileSync(join(import.meta.dirname, '../../../local/samples/cat.jpg')))
    const { whole } = await vision.see(await pixelsOf(cat.autoOrient()))
    const scores = Object.fromEntries(whole.map(({ name, score }) => [name, score]))
    expect(scores).toMatchObject({ Animal: expect.any(Number), Mammal: expect.any(Number) })
    expect(scores['Cat']).toBeGreaterThan(0.7)
    // All cats together are surer than each of them.
    expect(scores['Animal']).toBeGreaterThanOrEqual(scores['Cat'] ?? 1)
    const labels = labelsOf({ ...seen, things: [], faces: [], whole })
    expect(labels.find(({ Name }) => Name === 'Cat')).toMatchObject({
      ...{ Instances: [], Parents: ['Animal', 'Mammal', 'Pet'].map((Name) => ({ Name })) },
    })
    for (const { Name, Confidence } of labels) expect(Confidence, Name).toBeLessThan(80)
  })

  it('sees a mirrored photo in the mirror: boxes, points and turns of the head', async () => {
    const twin = await vision.see(await pixelsOf(photo().flop()))
    expect(overlap(mirror(personIn(twin)), personIn(seen))).toBeGreaterThanOrEqual(0.97)
    const [face, other] = [faceIn(seen), faceIn(twin)]
    expect(overlap(mirror(partsOf(other.box, twin)), partsOf(face.box, seen))).toBeGreaterThanOrEqual(0.93)
    const swapped = { Left: 'Right', Right: 'Left', left: 'right', right: 'left' }
    for (const { type, x, y } of face.landmarks) {
      const named = type.replaceAll(/left|right/gi, (side) => swapped[side as keyof typeof swapped])
      const point = other.landmarks.find((candidate) => candidate.type === named)
      const side = face.box.right - face.box.left
      expect(Math.abs((point?.x ?? 0) - (twin.width - x)) / side, named).toBeLessThan(0.06)
      expect(Math.abs((point?.y ?? 0) - y) / side, named).toBeLessThan(0.06)
    }
    const x = (type: string) => other.landmarks.find((landmark) => landmark.type === type)?.x ?? Number.NaN
    for (const side of ['left', 'right']) {
      expect(x(`${side}Pupil`)).toBeGreaterThan(x(`${side}EyeLeft`))
      expect(x(`${side}Pupil`)).toBeLessThan(x(`${side}EyeRight`))
    }
    expect(Math.abs(other.pose.yaw + face.pose.yaw)).toBeLessThan(4)
    expect(Math.abs(other.pose.roll + face.pose.roll)).toBeLessThan(4)
    const [one, two] = [confidences(seen), confidences(twin)]
    expect(Math.abs((one['Person'] ?? 0) - (two['Person'] ?? 0))).toBeLessThan(1)
  })

  it('finds the same places in a photo of half the size', async () => {
    const half = await vision.see(await pixelsOf(photo().resize(256, 300)))
    const pairs = [
      [personIn(half), personIn(seen)],
      [partsOf(faceIn(half).box, half), partsOf(faceIn(seen).box, seen)],
    ] as const
    for (const [small, large] of pairs)
      for (const side of ['left', 'top', 'right', 'bottom'] as const)
        expect(Math.abs(small[side] - large[side]), side).toBeLessThan(0.03)
  })

  it('finds them at the side of a wide picture', async () => {
    const wide = await vision.see(await pixelsOf(photo().extend({ left: 500, background: '#888' })))
    const moved = ({ left, top, right, bottom }: Box): Box => ({
      ...{ left: (left * seen.width + 500) / wide.width, right: (right * seen.width + 500) / wide.width },
      ...{ top, bottom },
    })
    expect(overlap(personIn(wide), moved(personIn(seen)))).toBeGreaterThanOrEqual(0.93)
    const places = [partsOf(faceIn(wide).box, wide), moved(partsOf(faceIn(seen).box, seen))] as const
    expect(overlap(...places)).toBeGreaterThanOrEqual(0.93)
  })

  it.each<[what: string, at: (x: number, y: number) => number]>([
    ['noise', (x, y) => (Math.imul(x * 7_919 + y * 104_729 + 1, 2_654_435_761) >>> 16) & 255],
    ['a gradient across', (x) => (x * 255) / 400],
    ['a gradient down', (_, y) => 255 - (y * 255) / 300],
  ])('sees nothing in %s', async (_, at) => {
    const [width, height] = [400, 300]
    const data = Uint8Array.from({ length: width * height * 3 }, (_, byte) =>
      at(Math.floor(byte / 3) % width, Math.floor(byte / 3 / width)),
    )
    const sight = await vision.see({ data, width, height })
    expect(labelsOf(sight).filter(({ Confidence }) => Confidence >= 55)).toEqual([])
    expect(sight.faces).toEqual([])
  })

  it('sees exactly the same with two threads, and none of them opens a socket or asks for an address', () => {
    const same = { status: 'fulfilled', value: seen }
    expect(both).toEqual([same, same])
  })

  it('sees nothing with a part of its models, and names the file that is missing or damaged', async () => {
    const own = mkdtempSync(join(tmpdir(), 'vision-'))
    try {
      for (const name of readdirSync(folder ?? '')) symlinkSync(join(folder ?? '', name), join(own, name))
      const whyNot = async (): Promise<unknown> => {
        const broken = createVision({ threads: 1, folder: own })
        const error = await broken.see({ data: new Uint8Array(3), width: 1, height: 1 }).catch((why) => why)
        await broken.stop()
        expect(error).toBeInstanceOf(NotUsable)
        return (error as Error).message
      }
      // The last that is loaded, and then the first.
      const damaged = join(own, 'emotion.bin')
      rmSync(damaged)
      copyFileSync(join(folder ?? '', 'emotion.bin'), damaged)
      truncateSync(damaged, 1_000)
      expect(await whyNot()).toMatch(`${damaged} is damaged or another file`)
      const missing = join(own, 'nanodet.bin')
      rmSync(missing)
      expect(await whyNot()).toMatch(`${missing} cannot be read`)
    } finally {
      rmSync(own, { recursive: true })
    }
  })
})

it('a thread that lacked memory once is not asked again: what it has loaded is of no use', async () => {
  const own = mkdtempSync(join(tmpdir(), 'vision-'))
  const flag = JSON.stringify(join(own, 'started'))
  const script = new URL(
    `data:text/javascript,${encodeURIComponent(`
      import { existsSync, writeFileSync } from 'node:fs'
      import { parentPort } from 'node:worker_threads'
      const answer = existsSync(${flag}) ? { sight: 'seen' } : { failed: 'no memory' }
      writeFileSync(${flag}, '')
      parentPort.on('message', () => parentPort.postMessage(answer))`)}`,
  )
  const vision = createVision({ threads: 1, script })
  const see = () => vision.see({ data: new Uint8Array(3), width: 1, height: 1 })
  try {
    await expect(see()).rejects.toThrow('no memory')
    await expect(see()).resolves.toBe('seen')
  } finally {
    await vision.stop()
    rmSync(own, { recursive: true })
  }
})

describe('in the words of Rekognition', () => {
  const box = { left: 10, top: 20, right: 60, bottom: 90 }
  const everything: Sight = {
    width: 100,
    height: 100,
    things: KINDS.map((_, kind) => ({ kind, score: 0.9, box })),
    whole: [],
    faces: [],
  }

  it('each kind of thing is a label with its box, and all that it is a kind of is one without', () => {
    const labels = new Map(labelsOf(everything).map((label) => [label.Name, label]))
    expect(labels.size).toBeGreaterThan(KINDS.length)
    const isKind = (name: string): boolean => KINDS.includes(name)
    for (const { Name, Parents, Categories, Instances, Confidence } of labels.values()) {
      expect(Name).not.toBe('')
      expect(Confidence).toBeGreaterThanOrEqual(90)
      expect(Confidence).toBeLessThanOrEqual(100)
      expect(Categories, Name).toHaveLength(1)
      expect(Instances.length > 0, Name).toBe(isKind(Name))
      for (const parent of Parents) {
        expect(labels.has(parent.Name), `${Name} → ${parent.Name}`).toBe(true)
        // All that is above a parent is above its child too, and nothing is above itself.
        const above = labels.get(parent.Name)?.Parents ?? []
        expect(Parents, Name).toEqual(expect.arrayContaining(above))
        expect(above, Name).not.toContainEqual({ Name })
      }
    }
  })

  it.each<[what: string, score: number, backing: number | undefined, confidence: number]>([
    ['much, and is surer', 0.5, 0.1, 85],
    ['much, and was sure already', 0.8, 0.9, 98],
    ['little, and is less sure', 0.8, 0.04, 79],
    ['little, and was not sure', 0.5, 0.04, 35],
    ['next to none, and was sure', 0.8, 0.009, 79],
    ['next to none, and was not quite sure', 0.62, 0.009, 50],
    ['some, and is as sure as it was', 0.8, 0.07, 98],
    ['none to speak of, as its kind is not known there', 0.8, undefined, 98],
  ])('a thing has a backing of %s', (_, score, backing, confidence) => {
    const kind = KINDS.indexOf('Cup')
    const things = [{ kind, score, box, ...(backing !== undefined && { backing }) }]
    const labels = labelsOf({ ...everything, things })
    expect(labels.find(({ Name }) => Name === 'Cup')).toMatchObject({
      ...{ Confidence: confidence, Instances: [{ Confidence: confidence }] },
    })
  })

  it('boxes are in parts of the sides of the picture', () => {
    const instances = labelsOf(everything).flatMap((label: Label) => label.Instances)
    expect(instances).toHaveLength(KINDS.length)
    for (const { BoundingBox, Confidence } of instances) {
      expect(BoundingBox).toEqual({ Left: 0.1, Top: 0.2, Width: 0.5, Height: 0.7 })
      expect(Confidence).toBeLessThanOrEqual(100)
    }
  })
})
