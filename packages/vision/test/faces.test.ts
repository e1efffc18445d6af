import { expect, it } from 'vitest'
import { facesOf } from '../answers.ts'
import { type BuiltInName, builtIn } from '../built-in.ts'
import type { Thing } from '../detector.ts'
import { type Face, findFaces, withoutAnimals } from '../faces.ts'
import { kinds } from '../taxonomy.ts'

const KINDS = kinds().map(({ name }) => name)

const around = (x: number, y: number, side: number) => ({
  left: x - side / 2,
  top: y - side / 2,
  right: x + side / 2,
  bottom: y + side / 2,
})
const thing = (name: string, x: number, score = 0.7): Thing => ({
  kind: KINDS.indexOf(name),
  score,
  box: around(x, 100, 100),
})
const face = (x: number): Face => ({
  score: 0.9,
  box: around(x, 90, 20),
  landmarks: [],
  pose: { yaw: 0, pitch: 0, roll: 0 },
  quality: { brightness: 50, sharpness: 50 },
  emotions: [],
})

it.each<[string, Thing[], number]>([
  ['within a dog is none', [thing('Dog', 100)], 0],
  ['within a dog and a person is one', [thing('Dog', 100), thing('Person', 120)], 1],
  ['beside a dog is one', [thing('Dog', 200)], 1],
  ['within what may be a dog is one', [thing('Dog', 100, 0.45)], 1],
  ['within a car is one', [thing('Car', 100)], 1],
])('a face %s', (_, things, count) => {
  expect(withoutAnimals([face(100)], things)).toHaveLength(count)
})

/** Models that find one face of 133 pixels in the middle, whose mesh has these points and is of 0 elsewhere. */
function modelsOf(points: Record<number, [x: number, y: number, z?: number]>) {
  const fake = (name: BuiltInName, ...outputs: Float32Array[]) => {
    const { input } = builtIn(name)
    return { size: input.size ?? 0, input, run: async () => outputs }
  }
  const [scores, numbers] = [new Float32Array(16 * 16 * 2).fill(-9), new Float32Array(16 * 16 * 2 * 16)]
  const middle = (8 * 16 + 8) * 2
  scores[middle] = 5
  // A box of 100 pixels, and its eyes, which are level.
  numbers.set([0, 0, 100, 100, -20, 0, 20, 0], middle * 16)
  const mesh = new Float32Array(468 * 3)
  for (const [at, [x, y, z = 0]] of Object.entries(points)) mesh.set([x, y, z], Number(at) * 3)
  const none = [new Float32Array(8 * 8 * 6).fill(-9), new Float32Array(8 * 8 * 6 * 16)] as const
  return {
    blazeface: fake('blazeface', scores, none[0], numbers, none[1]),
    facemesh: fake('facemesh', mesh, Float32Array.of(1)),
    iris: fake('iris', new Float32Array(76 * 3)),
    emotion: fake('mini-xception', new Float32Array(7)),
  }
}
const grey = (side: number) => ({
  data: new Uint8Array(side * side * 3).fill(128),
  width: side,
  height: side,
})

/** @param lips how far apart, where the mouth is 40 wide; @param turned how much deeper one cheek is, 110 from the other */
async function mouthOf(lips: number, turned = 0, side = 256): Promise<unknown> {
  const pair = (above: number, below: number, x: number) => ({
    [above]: [x, 120] as [number, number],
    [below]: [x, 120 + lips] as [number, number],
  })
  const models = modelsOf({
    ...{ ...pair(82, 87, 90), ...pair(13, 14, 96), ...pair(312, 317, 102) },
    ...{ 78: [76, 120], 308: [116, 120], 10: [96, 20], 152: [96, 170] },
    ...{ 234: [40, 100, 0], 454: [150, 100, turned] },
  })
  const faces = await findFaces(models, grey(side), [])
  expect(faces).toHaveLength(1)
  const sight = { width: side, height: side, things: [], whole: [], faces }
  const asked = (attributes: string[]) => facesOf(sight, attributes)[0]
  expect(asked([])).not.toHaveProperty('MouthOpen')
  const mouth = asked(['MOUTH_OPEN'])
  expect(mouth).not.toHaveProperty('Emotions')
  expect(mouth?.MouthOpen).toEqual(asked(['ALL'])?.MouthOpen)
  return mouth?.MouthOpen
}

it('a mouth is open from 7 % of its width between the lips on, and the surer the further', async () => {
  expect(await mouthOf(0)).toEqual({ Value: false, Confidence: 98 })
  expect(await mouthOf(2)).toEqual({ Value: false, Confidence: 94 })
  expect(await mouthOf(2.81)).toEqual({ Value: true, Confidence: expect.closeTo(50.25, 1) })
  expect(await mouthOf(4)).toEqual({ Value: true, Confidence: expect.closeTo(80, 1) })
  expect(await mouthOf(60)).toEqual({ Value: true, Confidence: 99 })
})

it('nothing is said of the mouth of a face that is turned by more than 25° or has less than 60 pixels', async () => {
  expect(await mouthOf(60, 50)).toBeDefined()
  expect(await mouthOf(60, 53)).toBeUndefined()
  expect(await mouthOf(60, -53)).toBeUndefined()
  expect(await mouthOf(60, 0, 112)).toBeDefined()
  expect(await mouthOf(60, 0, 107)).toBeUndefined()
})
