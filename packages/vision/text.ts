import { builtIn, filesOf } from './built-in.ts'
import { loadRuntime, type Runtime } from './models.ts'
import { cutOutOf, type Picture, pointOf, prepared, type Rectangle } from './pixels.ts'
import { type DynamicModel, findRegions, type Region } from './text-regions.ts'

/**
 * PP-OCRv4 in two models: one says of each pixel whether it is text, one reads a line that is cut out. It knows Chinese
 * above all; here it may answer in Latin letters, digits and signs alone, since it sees a drawing of a 5 as 寸 otherwise.
 */
export interface Written {
  text: string
  /** The mean of what the model gives its characters, from 0 to 1. */
  score: number
  /** In pixels of the picture, as the text is read: where it begins above, ends above, ends below, begins below. */
  corners: [x: number, y: number][]
}
export interface Line extends Written {
  words: Written[]
}

export interface TextModels {
  detection: DynamicModel
  recognition: DynamicModel
  /** By class: what it stands for; undefined where it may not be answered. */
  alphabet: (string | undefined)[]
}

/** @throws NotUsable */
export async function loadText(folder: string | undefined): Promise<TextModels> {
  const [detection] = filesOf(builtIn('ppocr-detection'), folder)
  const [recognition, characters] = filesOf(builtIn('ppocr-recognition'), folder)
  const runtime = await loadRuntime()
  return {
    detection: await open(runtime, detection),
    recognition: await open(runtime, recognition),
    alphabet: alphabetOf(String(characters)),
  }
}

async function open(runtime: Runtime, bytes: Uint8Array = new Uint8Array()): Promise<DynamicModel> {
  const session = await runtime.InferenceSession.create(bytes, {
    logSeverityLevel: 3,
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
  })
  const [input = ''] = session.inputNames
  return {
    run: async (values, dims) => {
      const [output] = Object.values(
        await session.run({ [input]: new runtime.Tensor('float32', values, dims) }),
      )
      if (!(output?.data instanceof Float32Array)) throw new Error('A model of text gives no floats.')
      return { dims: output.dims, values: output.data }
    },
  }
}

/** Class 0 is "no character", the last one a space. Wide forms become the usual ones: （ is (. */
function alphabetOf(characters: string): TextModels['alphabet'] {
  const named = characters.split('\n').map((character) => {
    const usual = character.normalize('NFKC')
    return /^[\x21-\x7e\p{Script=Latin}£€¥¢°§©®×÷–—‘’“”…]+$/u.test(usual) ? usual : undefined
  })
  return ['', ...named, ' ']
}

/** What is not much higher than wide may be an upright letter as well as a line on its side. */
const SURELY_LONG = 3
/** Pixels of height in which a line is read. */
const LINE_HEIGHT = 48
const LEAST_WIDTH = 48
/** A line that is read with less is tried upside down as well, and has to be longer and surer there: ON is also NO. */
const SURE = 0.8
const SURE_OF_TURNED = 0.9
const LEAST_TURNED = 4
/** Lines with less say nothing, or are none: MODELS.md. */
const LEAST_LINE = 0.8
/**
 * A space between two characters that the model thinks possible, though no character is likelier: it is used to
 * Chinese, and leaves out many. Within words it gives up to .02, between them .04 and more.
 */
const LEAST_SPACE = 0.03
/** As many as Rekognition gives. */
const MOST_WORDS = 100

/** The lines from top to bottom. */
export async function readText(models: TextModels, picture: Picture): Promise<Line[]> {
  const lines: Line[] = []
  for (const region of await findRegions(models.detection, picture)) {
    const line = await readRegion(models, picture, region)
    if (line.score >= LEAST_LINE && /[\p{L}\p{N}]/u.test(line.text)) lines.push(line)
  }
  let words = 0
  return lines.filter((line) => {
    words += line.words.length
    return words <= MOST_WORDS
  })
}

/** Read along its direction, and the other way round where that may be the right one: the better counts. */
async function readRegion(models: TextModels, picture: Picture, region: Region): Promise<Line> {
  const { rectangle, length } = region
  const around = { ...rectangle, angle: rectangle.angle + Math.PI }
  const first = await readLine(models, picture, rectangle)
  const isSteep = Math.abs(rectangle.angle) > Math.PI / 4
  if (!isSteep && first.score >= SURE) return first
  const turned = await readLine(models, picture, around)
  if (!isSteep) return turned.score >= SURE_OF_TURNED && turned.text.length >= LEAST_TURNED ? turned : first
  const read = [first, turned]
  if (length < SURELY_LONG) {
    const { width, height, angle } = rectangle
    const upright = {
      ...rectangle,
      width: height,
      height: width,
      angle: angle - (Math.sign(angle) * Math.PI) / 2,
    }
    read.push(await readLine(models, picture, upright))
  }
  return read.reduce((best, line) => (line.score > best.score ? line : best))
}

async function readLine(
  { recognition, alphabet }: TextModels,
  picture: Picture,
  rectangle: Rectangle,
): Promise<Line> {
  const columns = Math.max(
    LEAST_WIDTH,
    Math.round((LINE_HEIGHT * rectangle.width) / rectangle.height / 8) * 8,
  )
  const rgb = cutOutOf(picture, rectangle, columns, LINE_HEIGHT)
  const { dims, values } = await recognition.run(prepared(rgb, builtIn('ppocr-recognition').input), [
    1,
    3,
    LINE_HEIGHT,
    columns,
  ])
  const [, steps = 0, classes = 0] = dims
  const characters = charactersOf(values, steps, classes, alphabet)
  return { ...written(characters, rectangle, 0, 1), words: wordsOf(characters, rectangle) }
}

interface Character {
  text: string
  score: number
  /** Its middle, from 0 where the line begins to 1 where it ends. */
  at: number
}

/**
 * At each step the likeliest class that may be answered counts, and what repeats without "no character" in between is one.
 * Where that is none and the model sees a character that may not be answered, the line has one of certainty 0 there.
 */
function charactersOf(
  values: Float32Array,
  steps: number,
  classes: number,
  alphabet: TextModels['alphabet'],
): Character[] {
  const characters: (Character & { steps: number })[] = []
  let before = 0
  let spaced = 0
  for (let step = 0; step < steps; step += 1) {
    const scores = values.subarray(step * classes, (step + 1) * classes)
    const { best, allowed } = likeliest(scores, alphabet)
    const text = alphabet[allowed] ?? ''
    const score = allowed === 0 ? 0 : (scores[allowed] ?? 0)
    const last = characters.at(-1)
    if (best === before && last !== undefined && best !== 0) {
      last.score = Math.max(last.score, score)
      last.steps += 1
      last.at += ((step + 0.5) / steps - last.at) / last.steps
    } else if (best !== 0) {
      if (last !== undefined && last.text !== ' ' && text !== ' ' && spaced >= LEAST_SPACE)
        characters.push({ text: ' ', score: spaced, at: step / steps, steps: 1 })
      spaced = 0
      characters.push({ text, score, at: (step + 0.5) / steps, steps: 1 })
    }
    if (best === 0) spaced = Math.max(spaced, scores[classes - 1] ?? 0)
    before = best
  }
  return characters
}

/** @returns the class with the highest score, and the one among those that may be answered; 0 is "no character" */
function likeliest(
  scores: Float32Array,
  alphabet: TextModels['alphabet'],
): { best: number; allowed: number } {
  let best = 0
  let allowed = 0
  for (const [at, score] of scores.entries()) {
    if (score > (scores[best] ?? 0)) best = at
    if (alphabet[at] !== undefined && score > (scores[allowed] ?? 0)) allowed = at
  }
  return { best, allowed }
}

/** @returns the characters between two places of the line, with the corners of that piece */
function written(characters: Character[], rectangle: Rectangle, from: number, to: number): Written {
  const read = characters.filter(({ text }) => text !== ' ')
  return {
    text: characters
      .map(({ text }) => text)
      .join('')
      .trim(),
    score: read.length === 0 ? 0 : read.reduce((sum, { score }) => sum + score, 0) / read.length,
    corners: [
      pointOf(rectangle, from - 0.5, -0.5),
      pointOf(rectangle, to - 0.5, -0.5),
      pointOf(rectangle, to - 0.5, 0.5),
      pointOf(rectangle, from - 0.5, 0.5),
    ],
  }
}

/** What spaces part; each word begins and ends half a character from the middles of its first and last one. */
function wordsOf(characters: Character[], rectangle: Rectangle): Written[] {
  const words: Character[][] = [[]]
  for (const character of characters) {
    if (character.text === ' ') words.push([])
    else words.at(-1)?.push(character)
  }
  const half = 0.5 / Math.max(1, characters.length)
  return words
    .filter((word) => word.some(({ text }) => text !== ''))
    .map((word, at, { length }) => {
      const from = at === 0 ? 0 : Math.max(0, (word[0]?.at ?? 0) - half)
      const to = at === length - 1 ? 1 : Math.min(1, (word.at(-1)?.at ?? 1) + half)
      return written(word, rectangle, from, to)
    })
}
