import type { Model } from './models.ts'
import { cutOut, mirrored, type Picture, placeIn, prepared, type Square } from './pixels.ts'

/** The corners of an eye, and whether it is that on the right: the model of the iris knows left ones only. */
const EYES = [
  { type: 'leftPupil', corners: [33, 133], isMirrored: false },
  { type: 'rightPupil', corners: [362, 263], isMirrored: true },
] as const
/** How much wider than the eye its square is, as in MediaPipe, and which of the model's points is the pupil. */
const AROUND_EYE = 2.3
const PUPIL = 71

type Point = [x: number, y: number]

/** @param place where a point of FaceMesh is in the picture */
export async function pupilsOf(model: Model, picture: Picture, place: (at: number) => Point) {
  const pupils: { type: string; x: number; y: number }[] = []
  for (const { type, corners, isMirrored } of EYES) {
    const [x, y] = await pupilOf(model, picture, corners.map(place), isMirrored)
    pupils.push({ type, x, y })
  }
  return pupils
}

async function pupilOf(
  model: Model,
  picture: Picture,
  [[leftX, leftY] = [0, 0], [rightX, rightY] = [0, 0]]: Point[],
  isMirrored: boolean,
): Promise<Point> {
  const square: Square = {
    x: (leftX + rightX) / 2,
    y: (leftY + rightY) / 2,
    side: AROUND_EYE * Math.hypot(rightX - leftX, rightY - leftY),
    angle: Math.atan2(rightY - leftY, rightX - leftX),
  }
  const { size } = model
  const rgb = cutOut(picture, square, size)
  const [points = new Float32Array()] = await model.run(
    prepared(isMirrored ? mirrored(rgb, size) : rgb, model.input),
  )
  const [x = 0, y = 0] = points.subarray(PUPIL * 3)
  return placeIn(square, size, isMirrored ? size - x : x, y)
}
