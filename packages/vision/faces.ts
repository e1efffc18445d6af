import { builtIn } from './built-in.ts'
import type { Thing } from './detector.ts'
import type { Model } from './models.ts'
import {
  around,
  type Box,
  cutOut,
  distinct,
  greys,
  type Picture,
  placeIn,
  prepared,
  type Square,
} from './pixels.ts'
import { pupilsOf } from './pupils.ts'
import { isAnimal, nameOf } from './taxonomy.ts'

/** BlazeFace finds faces, FaceMesh lays 468 points over each, and those say where to look for pupils and expression. */
export interface Face {
  /** How much the two models are convinced, from 0 to 1. */
  score: number
  /** In pixels of the picture, as all that follows. */
  box: Box
  landmarks: { type: string; x: number; y: number }[]
  /** Degrees: positive where the face looks to the right of the picture, up, and where it leans clockwise. */
  pose: { yaw: number; pitch: number; roll: number }
  quality: { brightness: number; sharpness: number }
  emotions: { type: string; score: number }[]
  /** How far the lips are apart, in widths of the mouth; absent where that says too little. */
  lips?: number
}

export interface FaceModels {
  blazeface: Model
  facemesh: Model
  iris: Model
  emotion: Model
}

/** Below, a dog's muzzle has been seen among the faces (.65), and at these two no face that is none, in 56 photos. */
const LEAST_FOUND = 0.66
const LEAST_MESHED = 0.7
/** Rekognition finds faces from about 40 of 1,920 pixels on; in fewer pixels than these there is no expression. */
const LEAST_SIDE = 20
const SAME_FACE = 0.3
/** People of whom one is looked at closely each. */
const MOST_PEOPLE = 12
const MOST_FACES = 100
/** From this score on an animal is one (MODELS.md). */
const LEAST_ANIMAL = 0.5
/** BlazeFace's cells: grids of so many a side, and so many anchors in each cell. */
const GRIDS = [
  { cells: 16, anchors: 2 },
  { cells: 8, anchors: 6 },
]
/** A box, then six points. */
const NUMBERS = 16

/** Numbers of FaceMesh's points. Left and right are those of the picture, as Rekognition has them. */
const POINTS: Record<string, number[]> = {
  eyeLeft: [33, 133, 159, 145],
  eyeRight: [362, 263, 386, 374],
  mouthLeft: [61],
  mouthRight: [291],
  nose: [1],
  leftEyeBrowLeft: [70],
  leftEyeBrowRight: [107],
  leftEyeBrowUp: [105],
  rightEyeBrowLeft: [336],
  rightEyeBrowRight: [300],
  rightEyeBrowUp: [334],
  leftEyeLeft: [33],
  leftEyeRight: [133],
  leftEyeUp: [159],
  leftEyeDown: [145],
  rightEyeLeft: [362],
  rightEyeRight: [263],
  rightEyeUp: [386],
  rightEyeDown: [374],
  noseLeft: [129],
  noseRight: [358],
  mouthUp: [0],
  mouthDown: [17],
  upperJawlineLeft: [234],
  midJawlineLeft: [172],
  chinBottom: [152],
  midJawlineRight: [397],
  upperJawlineRight: [454],
}
/** Points at the inner edges of the lips: above and below each other, and in the corners. */
const LIPS = [
  [82, 87],
  [13, 14],
  [312, 317],
] as const
const MOUTH = [78, 308] as const
/** Mouths of smaller faces were not looked at, and those of heads that are turned further are judged wrong (MODELS.md). */
const LEAST_MOUTHED = 60
const MOST_TURNED = 25
const FOREHEAD = 10
const CHIN = 152
const LEFT_CHEEK = 234
const RIGHT_CHEEK = 454

interface Found {
  score: number
  box: Box
  roll: number
}

/** @param people where to look closely: a face in a large picture is too small to be found in the whole */
export async function findFaces(models: FaceModels, picture: Picture, people: Thing[]): Promise<Face[]> {
  const whole = around(picture)
  const squares = people
    .map(({ box }) => headOf(box))
    .filter(({ side }) => side >= LEAST_SIDE * 2 && side < whole.side / 2)
    .slice(0, MOST_PEOPLE)
  const found: Found[] = []
  for (const square of [whole, ...squares]) found.push(...(await find(models.blazeface, picture, square)))
  const faces: Face[] = []
  for (const one of distinct(found, SAME_FACE).slice(0, MOST_FACES)) {
    const face = await describe(models, picture, one)
    if (face !== undefined) faces.push(face)
  }
  return distinct(faces, SAME_FACE)
}

/**
 * Dogs have faces too: in the 301 pictures of MODELS.md all three faces that were none were those of dogs, each within the
 * box of its dog, and in that of no person.
 */
export function withoutAnimals(faces: Face[], things: Thing[]): Face[] {
  const people = things.filter(({ kind }) => nameOf(kind) === 'Person')
  const animals = animalsAmong(things)
  return faces.filter(
    (face) =>
      people.some((person) => isWithin(face, person)) || !animals.some((animal) => isWithin(face, animal)),
  )
}

/** Those that the detector is sure enough of. */
export const animalsAmong = (things: Thing[]): Thing[] =>
  things.filter(({ kind, score }) => score >= LEAST_ANIMAL && isAnimal(nameOf(kind)))

export function isWithin({ box }: Pick<Face, 'box'>, { box: outer }: Thing): boolean {
  const x = (box.left + box.right) / 2
  const y = (box.top + box.bottom) / 2
  return x >= outer.left && x <= outer.right && y >= outer.top && y <= outer.bottom
}

/** The square at the top of a person. */
function headOf({ left, top, right, bottom }: Box): Square {
  const side = Math.min(right - left, bottom - top) * 1.2
  return { x: (left + right) / 2, y: top + side * 0.42, side, angle: 0 }
}

async function find(model: Model, picture: Picture, square: Square): Promise<Found[]> {
  const { size } = model
  const outputs = await model.run(prepared(cutOut(picture, square, size), model.input))
  const found: Found[] = []
  for (const [grid, { cells, anchors }] of GRIDS.entries()) {
    const scores = outputs[grid] ?? new Float32Array()
    const numbers = outputs[grid + GRIDS.length] ?? new Float32Array()
    for (const [at, logit] of scores.entries()) {
      const score = 1 / (1 + Math.exp(-logit))
      if (score < LEAST_FOUND) continue
      const cell = Math.floor(at / anchors)
      const column = ((cell % cells) + 0.5) * (size / cells)
      const row = (Math.floor(cell / cells) + 0.5) * (size / cells)
      const own = numbers.subarray(at * NUMBERS, (at + 1) * NUMBERS)
      const [x = 0, y = 0, width = 0, height = 0, rightEyeX = 0, rightEyeY = 0, leftEyeX = 0, leftEyeY = 0] =
        own
      const [left, top] = placeIn(square, size, column + x - width / 2, row + y - height / 2)
      const [right, bottom] = placeIn(square, size, column + x + width / 2, row + y + height / 2)
      if (Math.min(right - left, bottom - top) < LEAST_SIDE) continue
      const roll = Math.atan2(leftEyeY - rightEyeY, leftEyeX - rightEyeX)
      found.push({ score, box: { left, top, right, bottom }, roll })
    }
  }
  return found
}

/** @returns undefined where no mesh can be laid over it */
async function describe(models: FaceModels, picture: Picture, found: Found): Promise<Face | undefined> {
  const { left, top, right, bottom } = found.box
  const square: Square = {
    x: (left + right) / 2,
    y: (top + bottom) / 2,
    side: 1.5 * Math.max(right - left, bottom - top),
    angle: found.roll,
  }
  const { size, input, run } = models.facemesh
  const [mesh, presence] = await run(prepared(cutOut(picture, square, size), input))
  const meshed = presence?.[0] ?? 0
  if (mesh === undefined || meshed < LEAST_MESHED) return undefined
  const raw = (at: number): [number, number, number] => [
    mesh[at * 3] ?? 0,
    mesh[at * 3 + 1] ?? 0,
    mesh[at * 3 + 2] ?? 0,
  ]
  const place = (at: number): [number, number] => placeIn(square, size, raw(at)[0], raw(at)[1])

  const points = Array.from({ length: mesh.length / 3 }, (_, at) => place(at))
  const xs = points.map(([x]) => x)
  const ys = points.map(([, y]) => y)
  const extent = {
    left: Math.min(...xs),
    top: Math.min(...ys),
    right: Math.max(...xs),
    bottom: Math.max(...ys),
  }
  const upright: Square = {
    x: (extent.left + extent.right) / 2,
    y: (extent.top + extent.bottom) / 2,
    side: 1.3 * Math.max(extent.right - extent.left, extent.bottom - extent.top),
    angle: found.roll,
  }
  const [leftX, leftY, leftZ] = raw(LEFT_CHEEK)
  const [rightX, rightY, rightZ] = raw(RIGHT_CHEEK)
  const [, foreheadY, foreheadZ] = raw(FOREHEAD)
  const [, chinY, chinZ] = raw(CHIN)
  const degrees = 180 / Math.PI
  const yaw = degrees * Math.atan2(rightZ - leftZ, rightX - leftX)
  const apart = ([a, b]: readonly [number, number]): number =>
    Math.hypot(raw(a)[0] - raw(b)[0], raw(a)[1] - raw(b)[1])
  const gap = LIPS.reduce((sum, pair) => sum + apart(pair), 0) / LIPS.length
  const showsMouth = extent.bottom - extent.top >= LEAST_MOUTHED && Math.abs(yaw) <= MOST_TURNED
  return {
    score: 1 - (1 - found.score) * (1 - meshed),
    box: {
      left: Math.max(0, extent.left),
      top: Math.max(0, extent.top),
      right: Math.min(picture.width, extent.right),
      bottom: Math.min(picture.height, extent.bottom),
    },
    landmarks: [
      ...Object.entries(POINTS).map(([type, numbers]) => {
        const own = numbers.map(place)
        const mean = (axis: 0 | 1) => own.reduce((sum, point) => sum + point[axis], 0) / own.length
        return { type, x: mean(0), y: mean(1) }
      }),
      ...(await pupilsOf(models.iris, picture, place)),
    ],
    pose: {
      yaw,
      pitch: degrees * Math.atan2(foreheadZ - chinZ, chinY - foreheadY),
      roll: degrees * (found.roll + Math.atan2(rightY - leftY, rightX - leftX)),
    },
    quality: qualityOf(cutOut(picture, { ...upright, side: upright.side / 1.3 }, size), size),
    emotions: await emotionsOf(models.emotion, picture, upright),
    ...(showsMouth && { lips: gap / apart(MOUTH) }),
  }
}

async function emotionsOf(model: Model, picture: Picture, square: Square): Promise<Face['emotions']> {
  const [scores = new Float32Array()] = await model.run(
    prepared(cutOut(picture, square, model.size), model.input),
  )
  return builtIn('mini-xception')
    .classes.map(({ name }, at) => ({ type: name, score: scores[at] ?? 0 }))
    .sort((a, b) => b.score - a.score)
}

/** Brightness and sharpness of the face alone, measured as packages/embedded-aws does for a whole picture. */
function qualityOf(rgb: Float32Array, size: number): Face['quality'] {
  const grey = greys(rgb)
  const mean = grey.reduce((sum, value) => sum + value, 0) / grey.length
  let sum = 0
  let squares = 0
  for (let row = 1; row < size - 1; row += 1)
    for (let column = 1; column < size - 1; column += 1) {
      const at = row * size + column
      const beside =
        (grey[at - 1] ?? 0) + (grey[at + 1] ?? 0) + (grey[at - size] ?? 0) + (grey[at + size] ?? 0)
      const difference = beside - 4 * (grey[at] ?? 0)
      sum += difference
      squares += difference * difference
    }
  const count = (size - 2) ** 2
  const variance = squares / count - (sum / count) ** 2
  return { brightness: (100 * mean) / 255, sharpness: (100 * variance) / (variance + 100) }
}
