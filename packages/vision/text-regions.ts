import { builtIn } from './built-in.ts'
import { cutOutOf, type Picture, prepared, type Rectangle } from './pixels.ts'

/** Takes pictures of any size and gives one list of numbers, the last of `dims` the fastest. */
export interface DynamicModel {
  run: (input: Float32Array, dims: number[]) => Promise<{ dims: readonly number[]; values: Float32Array }>
}

/** The longest side in which text is looked for, in steps that the model can halve five times. */
const DETECTION_SIDE = 960
const STEP = 32
/** As PaddleOCR has them: what is text, how sure its pixels are, and how much a region grows, which is trained narrower. */
const LEAST_PIXEL = 0.3
const LEAST_REGION = 0.6
const GROWTH = 1.6
const LEAST_PIXELS = 3
const MOST_REGIONS = 150
/** What is about as wide as high has no direction of its own: it is taken as upright. */
const LEAST_LONG = 1.5
/** Letters of different heights make a line look askew: it is straight unless that would take much more room. */
const MUCH_LESS = 0.9
const QUARTER = Math.PI / 2

export interface Region {
  rectangle: Rectangle
  /** How many times as long as wide. */
  length: number
}

/** Where there is text, from top to bottom. */
export async function findRegions(model: DynamicModel, picture: Picture): Promise<Region[]> {
  const { width, height } = picture
  const scale = Math.min(1, DETECTION_SIDE / Math.max(width, height))
  const inSteps = (side: number): number => Math.max(1, Math.round((side * scale) / STEP)) * STEP
  const [columns, rows] = [inSteps(width), inSteps(height)]
  const whole = { x: width / 2, y: height / 2, width, height, angle: 0 }
  const rgb = cutOutOf(picture, whole, columns, rows)
  const { values } = await model.run(prepared(rgb, builtIn('ppocr-detection').input), [1, 3, rows, columns])
  return regionsOf(values, columns, rows)
    .sort((a, b) => b.score - a.score)
    .slice(0, MOST_REGIONS)
    .map(({ pixels }) => regionAround(pixels, columns, width / columns, height / rows))
    .sort((a, b) => a.rectangle.y - b.rectangle.y || a.rectangle.x - b.rectangle.x)
}

/** What hangs together of the pixels that are text, as their numbers, and how sure they are. */
function regionsOf(values: Float32Array, columns: number, rows: number) {
  const isSeen = new Uint8Array(values.length)
  const regions: { pixels: number[]; score: number }[] = []
  for (const [first, value] of values.entries()) {
    if (value < LEAST_PIXEL || isSeen[first] === 1) continue
    isSeen[first] = 1
    const pixels = [first]
    let sum = 0
    for (const at of pixels) {
      sum += values[at] ?? 0
      const [column, row] = [at % columns, Math.floor(at / columns)]
      for (let y = Math.max(0, row - 1); y <= Math.min(rows - 1, row + 1); y += 1)
        for (let x = Math.max(0, column - 1); x <= Math.min(columns - 1, column + 1); x += 1) {
          const beside = y * columns + x
          if (isSeen[beside] === 1 || (values[beside] ?? 0) < LEAST_PIXEL) continue
          isSeen[beside] = 1
          pixels.push(beside)
        }
    }
    const score = sum / pixels.length
    if (score >= LEAST_REGION && pixels.length >= LEAST_PIXELS) regions.push({ pixels, score })
  }
  return regions
}

/** The rectangle around pixels along the direction in which they spread most, in pixels of the picture. */
function regionAround(pixels: number[], columns: number, scaleX: number, scaleY: number): Region {
  const points = pixels.map((at): [number, number] => [
    ((at % columns) + 0.5) * scaleX,
    (Math.floor(at / columns) + 0.5) * scaleY,
  ])
  const mean = (of: (point: [number, number]) => number): number =>
    points.reduce((sum, point) => sum + of(point), 0) / points.length
  const middleX = mean(([x]) => x)
  const middleY = mean(([, y]) => y)
  const xx = mean(([x]) => (x - middleX) ** 2)
  const yy = mean(([, y]) => (y - middleY) ** 2)
  const xy = mean(([x, y]) => (x - middleX) * (y - middleY))
  const spread = Math.hypot(xx - yy, 2 * xy)
  // One pixel spreads by a twelfth of its square.
  const length = Math.sqrt((xx + yy + spread + 1 / 6) / (xx + yy - spread + 1 / 6))
  const angle = length < LEAST_LONG ? 0 : Math.atan2(2 * xy, xx - yy) / 2
  const askew = rectangleAround(points, angle)
  const straight = rectangleAround(points, (Math.round(angle / QUARTER) || 0) * QUARTER)
  const { width, height, ...place } = areaOf(askew) < MUCH_LESS * areaOf(straight) ? askew : straight
  const pixel = (scaleX + scaleY) / 2
  const [across, down] = [width + pixel, height + pixel]
  const more = (GROWTH * across * down) / (across + down)
  return { length, rectangle: { ...place, width: across + more, height: down + more } }
}

function rectangleAround(points: [number, number][], angle: number): Rectangle {
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)]
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity]
  for (const [x, y] of points) {
    const [along, down] = [x * cos + y * sin, y * cos - x * sin]
    left = Math.min(left, along)
    right = Math.max(right, along)
    top = Math.min(top, down)
    bottom = Math.max(bottom, down)
  }
  const [along, down] = [(left + right) / 2, (top + bottom) / 2]
  return {
    x: along * cos - down * sin,
    y: along * sin + down * cos,
    width: right - left,
    height: bottom - top,
    angle,
  }
}

const areaOf = ({ width, height }: Rectangle): number => width * height
