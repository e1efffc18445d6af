import * as z from 'zod'
import type { AwsError } from '../json.ts'
import { invalid, missing, serialization } from './errors.ts'

/** What a request of SQS has to be (API reference), where the emulator takes anything or fails. */

const text = z.string()
const texts = z.array(text)
const record = z.record(text, text)
const message = {
  Id: text.optional(),
  MessageBody: text.optional(),
  DelaySeconds: z.number().optional(),
  MessageAttributes: z
    .record(
      text,
      z.object({
        DataType: text.optional(),
        StringValue: text.optional(),
        BinaryValue: text.optional(),
      }),
    )
    .optional(),
  MessageSystemAttributes: z
    .record(text, z.object({ DataType: text.optional(), StringValue: text.optional() }))
    .optional(),
  MessageGroupId: text.optional(),
  MessageDeduplicationId: text.optional(),
  ReceiptHandle: text.optional(),
  VisibilityTimeout: z.number().optional(),
}
const entrySchema = z.looseObject(message)
/** A name has the same type in all operations. */
const inputSchema = z.looseObject({
  ...message,
  QueueUrl: text.optional(),
  QueueName: text.optional(),
  Attributes: record.optional(),
  AttributeNames: texts.optional(),
  MessageAttributeNames: texts.optional(),
  MessageSystemAttributeNames: texts.optional(),
  MaxNumberOfMessages: z.number().optional(),
  MaxResults: z.number().optional(),
  WaitTimeSeconds: z.number().optional(),
  Entries: z.array(entrySchema).optional(),
  TagKeys: texts.optional(),
})
export type Entry = z.infer<typeof entrySchema>
export type Input = z.infer<typeof inputSchema>

/** @throws AwsError SerializationException */
export function parseInput(body: unknown): Input {
  const { success, data, error } = inputSchema.safeParse(body)
  if (success) return data
  throw serialization(`The value at '${error.issues[0]?.path.join('.')}' is not of its type.`)
}

/** Whether it has the characters that SQS takes: those of XML. */
export const isText = (text: string): boolean =>
  /^[\t\n\r\u{20}-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]*$/u.test(text)

const MAX_DELAY_SECONDS = 900
const MAX_ATTRIBUTES = 10

/** @returns why a message is not sent */
export function refusalOf(sent: Entry, isFifo: boolean): AwsError | undefined {
  const { MessageBody, DelaySeconds, MessageAttributes = {} } = sent
  if (MessageBody === undefined || MessageBody === '') return missing('MessageBody')
  if (
    DelaySeconds !== undefined &&
    !(Number.isInteger(DelaySeconds) && DelaySeconds >= 0 && DelaySeconds <= MAX_DELAY_SECONDS)
  )
    return invalid(
      `Value ${DelaySeconds} for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= ${MAX_DELAY_SECONDS}.`,
    )
  if (!isFifo && sent.MessageDeduplicationId !== undefined)
    return invalid(
      `Value ${sent.MessageDeduplicationId} for parameter MessageDeduplicationId is invalid. Reason: The request includes a parameter that is not valid for this queue type.`,
    )
  for (const name of ['MessageGroupId', 'MessageDeduplicationId'] as const) {
    const { [name]: id } = sent
    if (id !== undefined && !/^[!-~]{1,128}$/.test(id))
      return invalid(
        `Value ${id} for parameter ${name} is invalid. Reason: ${name} can only include alphanumeric and punctuation characters. 1 to 128 in length.`,
      )
  }
  for (const [name, { DataType, StringValue = '' }] of Object.entries(sent.MessageSystemAttributes ?? {})) {
    if (name !== 'AWSTraceHeader' || DataType !== 'String' || StringValue === '')
      return invalid(
        `Message system attribute '${name}' is invalid: a text for AWSTraceHeader of the type String is the only one.`,
      )
  }
  const attributes = Object.entries(MessageAttributes)
  if (attributes.length > MAX_ATTRIBUTES)
    return invalid(
      `Number of message attributes [${attributes.length}] exceeds the allowed maximum [${MAX_ATTRIBUTES}].`,
    )
  for (const [name, attribute] of attributes) {
    const why = whyNot(name, attribute)
    if (why !== undefined) return invalid(why)
  }
  return undefined
}

/** Developer guide, "Amazon SQS message metadata". */
function whyNot(
  name: string,
  attribute: NonNullable<Entry['MessageAttributes']>[string],
): string | undefined {
  const { DataType = '', StringValue = '', BinaryValue = '' } = attribute
  const isName = /^[\w-]+(\.[\w-]+)*$/.test(name) && name.length <= 256 && !/^(aws|amazon)\./i.test(name)
  if (!isName)
    return `The message attribute name '${name}' is invalid. It may have 256 letters, digits, underscores, hyphens, and single dots within, and begins with neither AWS. nor Amazon.`
  const [, type] = /^(String|Number|Binary)(?:\..+)?$/.exec(DataType) ?? []
  if (type === undefined || DataType.length > 256)
    return `The message attribute '${name}' has an invalid message attribute type, the set of supported type prefixes is Binary, Number, and String.`
  if ((type === 'Binary' ? BinaryValue : StringValue) === '')
    return `The message attribute '${name}' must contain a non-empty value of the type ${type}.`
  if (!isText(StringValue)) return `The message attribute '${name}' has characters that are not valid.`
  if (type === 'Number' && Number.isNaN(Number(StringValue)))
    return `Could not cast message attribute '${name}' value to number.`
  return undefined
}
