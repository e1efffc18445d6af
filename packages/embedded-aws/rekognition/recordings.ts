import { createHash } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import {
  DetectFacesCommand,
  DetectLabelsCommand,
  DetectModerationLabelsCommand,
  DetectTextCommand,
  type RekognitionClient,
  RekognitionServiceException,
} from '@aws-sdk/client-rekognition'
import * as z from 'zod'
import { readIfThere, writeWhole } from '../files.ts'
import { AwsError } from '../json.ts'

const named = z.looseObject({ Name: z.string(), Confidence: z.number() })
const detected = z.looseObject({ DetectedText: z.string() })

/** Rekognition's answers, whole; what is not named here passes through. */
const ANSWERS = {
  DetectLabels: z.looseObject({ Labels: z.array(named), LabelModelVersion: z.string().optional() }),
  DetectFaces: z.looseObject({ FaceDetails: z.array(z.looseObject({})) }),
  DetectModerationLabels: z.looseObject({
    ModerationLabels: z.array(named),
    ModerationModelVersion: z.string().optional(),
  }),
  DetectText: z.looseObject({
    TextDetections: z.array(detected),
    TextModelVersion: z.string().optional(),
  }),
}
type Operation = keyof typeof ANSWERS

/** Where an answer says whose it is. DetectFaces has no such field. */
const MODEL_VERSION: Partial<Record<Operation, string>> = {
  DetectLabels: 'LabelModelVersion',
  DetectModerationLabels: 'ModerationModelVersion',
  DetectText: 'TextModelVersion',
}

const entrySchema = <Name extends Operation>(operation: Name) =>
  z.strictObject({
    operation: z.literal(operation),
    /** The request, without the image. */
    asked: z.record(z.string(), z.unknown()),
    answer: ANSWERS[operation],
    recorded: z.strictObject({ at: z.iso.datetime(), region: z.string() }).optional(),
  })
const recordingSchema = z
  .strictObject({
    /** Written by hand, for tests. */
    madeUp: z.literal(true).optional(),
    answers: z.array(
      z.discriminatedUnion('operation', [
        entrySchema('DetectLabels'),
        entrySchema('DetectFaces'),
        entrySchema('DetectModerationLabels'),
        entrySchema('DetectText'),
      ]),
    ),
  })
  .refine(
    ({ madeUp = false, answers }) => answers.every(({ recorded }) => (recorded === undefined) === madeUp),
    'Each answer says when and where it was recorded, or the file that it is made up.',
  )
type Recording = z.infer<typeof recordingSchema>

/**
 * The answer of Rekognition to this request about these bytes, as far as it is recorded or can be had.
 *
 * @param asked the request, without the image
 * @throws AwsError with the name that the real service gives its refusal
 */
export type Recall = (
  operation: string,
  asked: Record<string, unknown>,
  bytes: Uint8Array,
) => Promise<object | undefined>

/** How many images there are recordings of; undefined where there is no such folder. */
export const countRecordings = (folder: string): number | undefined =>
  existsSync(folder)
    ? readdirSync(folder).filter((name) => /^[0-9a-f]{64}\.json$/.test(name)).length
    : undefined

/**
 * Answers of the real service, by the content of the image: `<SHA-256>.json` for each. Only the same question gets a
 * recorded answer, since only the service knows its answer to another one.
 *
 * @param options.real asked for what is not recorded yet, and its answers are recorded
 */
export function createRecordings(options: {
  folder: string
  real?: { client: RekognitionClient; region: string }
}): Recall {
  const { folder, real } = options
  return async (name, asked, bytes) => {
    if (!isOperation(name)) return undefined
    const file = join(folder, `${createHash('sha256').update(bytes).digest('hex')}.json`)
    const { madeUp = false, answers } = read(file)
    if (madeUp && real !== undefined)
      throw unusable(file, 'is made up, and nothing can be recorded beside it')
    const known = answers.find((entry) => entry.operation === name && isDeepStrictEqual(entry.asked, asked))
    if (known !== undefined) return marked(known, madeUp ? 'made up' : 'recorded')
    if (real === undefined) return undefined

    const answer = await ask(real.client, name, { ...asked, Image: { Bytes: bytes } })
    const recorded = { at: new Date().toISOString(), region: real.region }
    const entry = { operation: name, asked, answer, recorded }
    // Read once more: other operations on the same image have been recorded since.
    writeWhole(file, recordingSchema.parse({ answers: [...read(file).answers, entry] }))
    return answer
  }
}

const isOperation = (name: string): name is Operation => name in ANSWERS

const unusable = (file: string, why: string): AwsError =>
  new AwsError('InternalServerError', `The recording ${file} ${why}; mend or delete it.`, 500)

/** @throws AwsError that names a file which is none of ours */
function read(file: string): Recording {
  const text = readIfThere(file)
  if (text === undefined) return { answers: [] }
  try {
    return recordingSchema.parse(JSON.parse(text))
  } catch (error) {
    if (!(error instanceof SyntaxError || error instanceof z.ZodError)) throw error
    const problem =
      error instanceof z.ZodError
        ? error.issues.map(({ path, message }) => `${path.join('.') || 'all of it'}: ${message}`).join('; ')
        : error.message
    throw unusable(file, `cannot be read (${problem})`)
  }
}

/** A replay must not pass for what the service says today. */
function marked({ operation, answer }: Recording['answers'][number], mark: string): object {
  const field = MODEL_VERSION[operation]
  if (field === undefined) return answer
  const version = answer[field]
  return { ...answer, [field]: typeof version === 'string' ? `${mark} ${version}` : mark }
}

async function ask(
  client: RekognitionClient,
  operation: Operation,
  input: { Image: { Bytes: Uint8Array } },
): Promise<object> {
  try {
    const { $metadata: _, ...answer } = await send[operation](client, input)
    return answer
  } catch (error) {
    if (!(error instanceof RekognitionServiceException)) throw error
    throw new AwsError(error.name, error.message, error.$metadata.httpStatusCode)
  }
}

type Input = { Image: { Bytes: Uint8Array } }
const send = {
  DetectLabels: (client: RekognitionClient, input: Input) => client.send(new DetectLabelsCommand(input)),
  DetectFaces: (client: RekognitionClient, input: Input) => client.send(new DetectFacesCommand(input)),
  DetectModerationLabels: (client: RekognitionClient, input: Input) =>
    client.send(new DetectModerationLabelsCommand(input)),
  DetectText: (client: RekognitionClient, input: Input) => client.send(new DetectTextCommand(input)),
}
