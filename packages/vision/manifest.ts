import * as z from 'zod'

/**
 * What describes a model: of those that come along, models.json; of one that people add, a JSON file beside an ONNX file.
 * That may come from anywhere, so nothing in it is a path, and everything in it has a bound.
 */
const MOST_CLASSES = 5_000
const label = z.string().regex(/^[\p{L}\p{N}][\p{L}\p{N} &'(),./-]{0,99}$/u, 'is no name of a label')
const labels = z.array(label).max(20).default([])
const channels = z.tuple([z.number(), z.number(), z.number()])
const output = z.string().min(1).max(200)

/** From score to confidence: read off the line between two points. What scores below the first one is not said. */
const curve = z
  .array(z.tuple([z.number().min(0).max(1), z.number().min(0).max(100)]))
  .min(2)
  .max(100)
  .refine(
    (points) =>
      points.every(([score, confidence], at) => {
        const [before, least] = points[at - 1] ?? [-1, 0]
        return score > before && confidence >= least
      }),
    'must rise from point to point',
  )

/** `parents` are all that it is a kind of. A class can have a curve of its own. */
const classSchema = z.strictObject({
  name: label,
  parents: labels,
  aliases: labels,
  categories: labels,
  curve: curve.optional(),
})
export type Class = z.infer<typeof classSchema>

const described = {
  /** Its folder here, and what LabelModelVersion says. */
  name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,39}$/, 'must consist of a-z, 0-9 and -'),
  version: z.string().regex(/^[A-Za-z0-9][\w.-]{0,19}$/, 'is not a version'),
  licence: z.string().min(1).max(200),
  source: z.url({ protocol: /^https$/, error: 'must be an https URL' }),
}
const file = {
  /** Beside the manifest. */
  file: z.string().regex(/^[A-Za-z0-9][\w.-]{0,99}$/, 'must be the plain name of a file beside the manifest'),
  sha256: z.string().regex(/^[0-9a-f]{64}$/, 'must be 64 lower-case hexadecimal digits'),
}

/** A square of 32-bit floats: (value from 0 to 255 − mean) ÷ deviation, in the order of `colours`. */
const input = z.strictObject({
  size: z.int().min(8).max(2_048),
  layout: z.enum(['NCHW', 'NHWC']),
  colours: z.enum(['RGB', 'BGR']).default('RGB'),
  mean: channels.default([0, 0, 0]),
  deviation: channels
    .refine((values) => values.every((value) => value > 0), 'must be above 0')
    .default([1, 1, 1]),
  /** The whole picture with black around it, or the largest square in its middle. */
  fit: z.enum(['whole', 'middle']).default('whole'),
})

/** A score for each class. */
const classifier = z.strictObject({
  kind: z.literal('classifier'),
  scores: output,
  activation: z.enum(['none', 'softmax', 'sigmoid']),
})
/** Boxes after non-maximum suppression: four numbers, a score and the number of a class for each. */
const detector = z.strictObject({
  kind: z.literal('detector'),
  boxes: output,
  scores: output,
  classes: output,
  order: z.enum(['left top right bottom', 'top left bottom right']),
  unit: z.enum(['pixels', 'fractions']),
})

export const manifestSchema = z.strictObject({
  ...described,
  ...file,
  input,
  output: z.discriminatedUnion('kind', [classifier, detector]),
  classes: z.array(classSchema).min(1).max(MOST_CLASSES),
  curve,
})
export type Manifest = z.infer<typeof manifestSchema>

/** A silent class is one that is seen in too much that has nothing of the kind: it names nothing. */
export const builtInClassSchema = classSchema.extend({ silent: z.boolean().optional() })

const builtInSchema = z.strictObject({
  ...described,
  /** Of npm: where `entry` is found, with the folder of the model as seen from there, and what installs it. */
  package: z.strictObject({
    name: z.string(),
    version: z.string(),
    entry: z.string(),
    folder: z.string(),
    install: z.string(),
  }),
  format: z.enum(['ONNX', 'TensorFlow.js', 'TensorFlow.js in scripts', 'TensorFlow Lite']),
  /** The model itself, then what belongs to it. */
  files: z.array(z.strictObject(file)).min(1),
  input: input.extend({
    /** Absent where the model takes any. */
    size: input.shape.size.optional(),
    colours: z.enum(['RGB', 'BGR', 'grey']).default('RGB'),
    /** The whole picture with black around it, the same pressed into a square, or what is cut out of it. */
    fit: z.enum(['whole', 'pressed', 'part']),
  }),
  output: z.discriminatedUnion('kind', [
    classifier,
    /** What a file here of its own makes sense of. */
    z.strictObject({ kind: z.literal('numbers'), names: z.array(output).min(1) }),
  ]),
  classes: z.array(builtInClassSchema).max(MOST_CLASSES).default([]),
  /** Beside models.json, with a class in each line, where they are too many for it. */
  classFile: file.file.optional(),
  curve: curve.optional(),
})
export type BuiltIn = z.infer<typeof builtInSchema>
export type Input = BuiltIn['input'] | Manifest['input']

/** The models that come along, and what their classes are kinds of. */
export const builtInsSchema = z.strictObject({
  models: z.array(builtInSchema),
  broader: z.array(classSchema),
})

/** As LabelModelVersion and the list name it. */
export const titleOf = ({ name, version }: Pick<Manifest, 'name' | 'version'>): string => `${name} ${version}`

/** A model or its runtime is not as it was when it was chosen: in one sentence, for people. */
export class NotUsable extends Error {}
