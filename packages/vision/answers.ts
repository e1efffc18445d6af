import type { Added, Found } from './added.ts'
import { type BuiltInName, builtIn } from './built-in.ts'
import { interpolate } from './curve.ts'
import type { Thing } from './detector.ts'
import type { Face } from './faces.ts'
import { titleOf } from './manifest.ts'
import type { Moderation } from './moderation.ts'
import type { Box, Picture } from './pixels.ts'
import { classOf, kinds } from './taxonomy.ts'
import type { Line, Written } from './text.ts'
import type { Named } from './whole.ts'

/** What the models see in a picture, and its size, in whose pixels it all is. */
export interface Sight {
  width: number
  height: number
  things: Thing[]
  /** What the picture is of, as a whole. */
  whole: Named[]
  faces: Face[]
  /** By models that people have added. */
  added?: Added[]
}

const LABELLING = ['nanodet-g', 'efficientnet-lite0'] as const
/** What DetectLabels says as its LabelModelVersion. */
export const labelModelVersion = ({ added = [] }: Pick<Sight, 'added'> = {}): string =>
  `local-1 (${[...LABELLING.map((name) => titleOf(builtIn(name))), ...added.map(({ model }) => model)].join(', ')})`

/** What is written in a picture, in its pixels. */
export interface Reading {
  width: number
  height: number
  lines: Line[]
}
/** What DetectText says as its TextModelVersion. */
export const TEXT_MODEL_VERSION = 'local-1 (ppocr-v4)'

export interface Label {
  Name: string
  Confidence: number
  Instances: { BoundingBox: BoundingBox; Confidence: number }[]
  Parents: { Name: string }[]
  Aliases: { Name: string }[]
  Categories: { Name: string }[]
}

interface BoundingBox {
  Left: number
  Top: number
  Width: number
  Height: number
}

/**
 * From what a model scores, which is no probability, to per cent. The detector is far surer of people than of the other
 * 79 kinds, which therefore have another curve; MODELS.md has the boxes that were looked at.
 */
const confidenceOf = (model: BuiltInName, score: number, kind?: number): number => {
  const { classes, curve = [] } = builtIn(model)
  return rounded(interpolate(classes[kind ?? -1]?.curve ?? curve, score))
}

/** From this backing on, of 115 things below 80 were 113 right (MODELS.md). */
const MUCH_BACKING = 0.1
const BACKED = 85
/** What is sure is no more than nearly so with less than this. */
const LITTLE_BACKING = 0.05
const NEARLY_SURE = 79
/** What is not sure is doubtful with less than this: of 50 such things 39 were wrong. */
const NO_BACKING = 0.01
const DOUBTFUL = 50
function backedBy(backing: number | undefined, confidence: number): number {
  if (backing === undefined) return confidence
  if (backing >= MUCH_BACKING) return Math.max(confidence, BACKED)
  if (backing < NO_BACKING && confidence <= NEARLY_SURE) return Math.min(confidence, DOUBTFUL)
  return backing < LITTLE_BACKING ? Math.min(confidence, NEARLY_SURE) : confidence
}

/** The things that are seen, and all that they are kinds of: those have the confidence of the best, and no boxes. */
export function labelsOf(sight: Sight): Label[] {
  const labels = new Map<string, Label>()
  const named = (name: string, confidence: number): Label => {
    const label = labels.get(name) ?? {
      Name: name,
      Confidence: 0,
      Instances: [],
      Parents: classOf(name).parents.map(asName),
      Aliases: classOf(name).aliases.map(asName),
      Categories: classOf(name).categories.map(asName),
    }
    labels.set(name, label)
    label.Confidence = Math.max(label.Confidence, confidence)
    return label
  }
  const seen = (name: string, confidence: number): Label => {
    const label = named(name, confidence)
    for (const ancestor of label.Parents) named(ancestor.Name, confidence)
    return label
  }
  for (const { kind, score, box, backing } of sight.things) {
    const Confidence = backedBy(backing, confidenceOf('nanodet-g', score, kind))
    seen(kinds()[kind]?.name ?? '', Confidence).Instances.push({
      BoundingBox: asFractions(box, sight),
      Confidence,
    })
  }
  for (const { score } of sight.faces) seen('Face', confidenceOf('blazeface', score))
  // What each is a kind of is among them, with a score of its own.
  for (const { name, score } of sight.whole) named(name, confidenceOf('efficientnet-lite0', score))
  for (const { found } of sight.added ?? []) for (const one of found) addFound(labels, one, sight)
  return [...labels.values()].sort((a, b) => b.Confidence - a.Confidence)
}

/** A label of an added model, in the words of its manifest; where the name is known already, it is the same label. */
function addFound(labels: Map<string, Label>, { entry, confidence, box }: Found, sight: Sight): void {
  const { name, parents, aliases, categories } = entry
  const Confidence = rounded(confidence)
  const at = (Name: string, rest: Pick<Label, 'Parents' | 'Aliases'>): Label => {
    const label = labels.get(Name) ?? {
      Name,
      Confidence,
      Instances: [],
      Categories: categories.map(asName),
      ...rest,
    }
    labels.set(Name, label)
    label.Confidence = Math.max(label.Confidence, Confidence)
    return label
  }
  const label = at(name, { Parents: parents.map(asName), Aliases: aliases.map(asName) })
  if (box !== undefined) label.Instances.push({ BoundingBox: asFractions(box, sight), Confidence })
  for (const parent of parents) at(parent, { Parents: [], Aliases: [] })
}

const DEFAULT_LANDMARKS = ['eyeLeft', 'eyeRight', 'mouthLeft', 'mouthRight', 'nose']

/**
 * Rekognition's FaceDetails, with only what is computed here: no age, gender, smile, glasses, beard,
 * no open eyes, no gaze, and an open mouth only of faces that show it well.
 *
 * @param attributes those that DetectFaces was asked for
 */
export function facesOf(sight: Sight, attributes: readonly string[]) {
  const all = attributes.includes('ALL')
  return sight.faces.map(({ score, box, landmarks, pose, quality, emotions, lips }) => ({
    BoundingBox: asFractions(box, sight),
    Confidence: confidenceOf('blazeface', score),
    Landmarks: landmarks
      .filter(({ type }) => all || DEFAULT_LANDMARKS.includes(type))
      .map(({ type, x, y }) => ({ Type: type, X: rounded(x / sight.width), Y: rounded(y / sight.height) })),
    Pose: { Roll: rounded(pose.roll), Yaw: rounded(pose.yaw), Pitch: rounded(pose.pitch) },
    Quality: { Brightness: rounded(quality.brightness), Sharpness: rounded(quality.sharpness) },
    ...((all || attributes.includes('EMOTIONS')) && {
      Emotions: emotions.map(({ type, score }) => ({
        Type: type,
        Confidence: confidenceOf('mini-xception', score),
      })),
    }),
    ...((all || attributes.includes('MOUTH_OPEN')) && lips !== undefined && { MouthOpen: mouthOf(lips) }),
  }))
}

/** The curve gives the confidence that it is open. */
function mouthOf(lips: number): { Value: boolean; Confidence: number } {
  const open = confidenceOf('facemesh', lips)
  return { Value: open >= 50, Confidence: Math.max(open, rounded(100 - open)) }
}

export interface TextDetection {
  DetectedText: string
  Type: 'LINE' | 'WORD'
  Id: number
  ParentId?: number
  Confidence: number
  Geometry: { BoundingBox: BoundingBox; Polygon: { X: number; Y: number }[] }
}
type Text = Pick<TextDetection, 'DetectedText' | 'Confidence' | 'Geometry'>

/**
 * Rekognition's TextDetections: the lines, then their words.
 *
 * @param passes whether a word is wanted; of a line at least one has to be
 */
export function textOf(
  { lines, ...size }: Reading,
  passes: (word: Text) => boolean = () => true,
): TextDetection[] {
  const wanted = lines
    .map((line) => ({ line, words: line.words.map((word) => asText(word, size)).filter(passes) }))
    .filter(({ words }) => words.length > 0)
  const words = wanted.flatMap(({ words }, ParentId) => words.map((word) => ({ ...word, ParentId })))
  return [
    ...wanted.map(({ line }, Id) => ({ ...asText(line, size), Type: 'LINE' as const, Id })),
    ...words.map((word, at) => ({ ...word, Type: 'WORD' as const, Id: wanted.length + at })),
  ]
}

function asText({ text, score, corners }: Written, { width, height }: Omit<Reading, 'lines'>): Text {
  const xs = corners.map(([x]) => Math.min(Math.max(0, x), width))
  const ys = corners.map(([, y]) => Math.min(Math.max(0, y), height))
  const box = { left: Math.min(...xs), top: Math.min(...ys), right: Math.max(...xs), bottom: Math.max(...ys) }
  return {
    DetectedText: text,
    Confidence: confidenceOf('ppocr-recognition', score),
    Geometry: {
      BoundingBox: asFractions(box, { width, height }),
      Polygon: xs.map((x, at) => ({ X: rounded(x / width), Y: rounded((ys[at] ?? 0) / height) })),
    },
  }
}

/** What DetectModerationLabels says as its ModerationModelVersion. */
export const MODERATION_MODEL_VERSION = 'local-1 (nsfwjs mid)'

export interface ModerationLabel {
  Name: string
  Confidence: number
  ParentName: string
  TaxonomyLevel: number
}

/**
 * Rekognition's ModerationLabels, of which two are said. Explicit: the model was shown pornography, photographed and
 * drawn. Suggestive: it was shown nudes and swimwear as one, for which taxonomy 7 has no word, but the one before had this.
 * A drawing that is harmless is not said: the model takes sharp photos for one.
 */
export function moderationLabelsOf(moderation: Moderation, minConfidence: number): ModerationLabel[] {
  const scores = new Map<string, number>()
  for (const { name, parents } of builtIn('nsfwjs').classes)
    for (const parent of parents) scores.set(parent, (scores.get(parent) ?? 0) + (moderation[name] ?? 0))
  return [...scores]
    .map(([Name, score]) => ({
      Name,
      Confidence: confidenceOf('nsfwjs', score),
      ParentName: '',
      TaxonomyLevel: 1,
    }))
    .filter(({ Confidence }) => Confidence >= minConfidence)
    .sort((a, b) => b.Confidence - a.Confidence)
}

const asName = (Name: string) => ({ Name })
const rounded = (value: number): number => Math.round(value * 10_000) / 10_000
const asFractions = (
  { left, top, right, bottom }: Box,
  { width, height }: Pick<Picture, 'width' | 'height'>,
): BoundingBox => ({
  Left: rounded(left / width),
  Top: rounded(top / height),
  Width: rounded((right - left) / width),
  Height: rounded((bottom - top) / height),
})
