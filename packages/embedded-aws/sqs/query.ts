import { once } from 'node:events'
import { type IncomingMessage, type ServerResponse, request as send } from 'node:http'
import { AwsError, parseJson } from '../json.ts'
import { readBody } from '../json-protocol.ts'
import { isFromPage } from '../origins.ts'
import { inNamespace, sendQueryError } from '../query-protocol.ts'
import { newRequestId } from '../s3/state.ts'
import { xml } from '../s3/xml.ts'

/**
 * The Query protocol, which SDKs spoke to SQS until late in 2023: each request is sent on in the JSON protocol, to the same
 * port, and its answer is written as XML. Both protocols have the same operations, with other names for lists and maps
 * (API reference 2012-11-05).
 */

/** How a list of the JSON protocol is called here. */
const LISTS = new Map(
  Object.entries({
    AttributeName: 'AttributeNames',
    MessageAttributeName: 'MessageAttributeNames',
    MessageSystemAttributeName: 'MessageSystemAttributeNames',
    TagKey: 'TagKeys',
    SendMessageBatchRequestEntry: 'Entries',
    DeleteMessageBatchRequestEntry: 'Entries',
    ChangeMessageVisibilityBatchRequestEntry: 'Entries',
  }),
)
/** Likewise a map, with what its entries consist of. */
const MAPS = new Map(
  Object.entries({
    Attribute: ['Attributes', 'Name', 'Value'],
    MessageAttribute: ['MessageAttributes', 'Name', 'Value'],
    MessageSystemAttribute: ['MessageSystemAttributes', 'Name', 'Value'],
    Tag: ['Tags', 'Key', 'Value'],
  } as const),
)
/** So an empty list is called. */
const IN_JSON = new Set(LISTS.values())
const NUMBERS = new Set(
  'DelaySeconds MaxNumberOfMessages VisibilityTimeout WaitTimeSeconds MaxResults MaxNumberOfMessagesPerSecond'.split(
    ' ',
  ),
)
/** What the elements of a list in an answer are called; those of a batch carry its operation's name. */
const ELEMENTS = new Map(
  Object.entries({
    Messages: 'Message',
    QueueUrls: 'QueueUrl',
    queueUrls: 'QueueUrl',
    Failed: 'BatchResultErrorEntry',
    Results: 'ListMessageMoveTasksResultEntry',
  }),
)
/** Operations whose answers have nothing in them, and no element for it. */
const WITHOUT_RESULT = new Set(
  'ChangeMessageVisibility DeleteMessage DeleteQueue PurgeQueue SetQueueAttributes TagQueue UntagQueue'.split(
    ' ',
  ),
)

type Field = [path: string[], value: string]

/** An entry of a batch, its attribute, that one's value, and a part of that. */
const MOST_NAMES = 6

/** @throws AwsError for what is no request of this protocol */
function inputOf(parameters: URLSearchParams): Record<string, unknown> {
  const fields = [...parameters].map(([name, value]): Field => [name.split('.', MOST_NAMES + 1), value])
  if (fields.some(([path]) => path.length > MOST_NAMES))
    throw new AwsError('MalformedInput', 'A parameter has too many parts.')
  return structure(fields)
}

function structure(fields: Field[]): Record<string, unknown> {
  return Object.fromEntries(
    groups(fields).map(([name, inner]): [string, unknown] => {
      const list = LISTS.get(name)
      if (list !== undefined) return [list, items(inner).map(contentOf)]
      if (IN_JSON.has(name) && contentOf(inner) === '') return [name, []]
      const [map, key = '', value = ''] = MAPS.get(name) ?? []
      if (map === undefined)
        return [name, NUMBERS.has(name) ? numberOf(name, contentOf(inner)) : contentOf(inner)]
      const entries = items(inner).map(structure)
      return [map, Object.fromEntries(entries.map((entry) => [String(entry[key]), entry[value]]))]
    }),
  )
}

function numberOf(name: string, text: unknown): number {
  if (typeof text !== 'string' || !/^-?\d{1,10}$/.test(text))
    throw new AwsError('MalformedInput', `The value of ${name} is not a whole number.`)
  return Number(text)
}

/** By the first part of their names, without it. */
function groups(fields: Field[]): [name: string, inner: Field[]][] {
  const found = new Map<string, Field[]>()
  for (const [[name = '', ...path], value] of fields) {
    const inner = found.get(name) ?? []
    found.set(name, inner)
    inner.push([path, value])
  }
  return [...found]
}

/** Those of a list, in the order of their numbers. */
const items = (fields: Field[]): Field[][] =>
  groups(fields)
    .filter(([number]) => number !== '')
    .sort(([a], [b]) => Number(a) - Number(b))
    .map(([, inner]) => inner)

const contentOf = (fields: Field[]): unknown =>
  fields[0]?.[0].length === 0 ? fields[0][1] : structure(fields)

/** Sends a request on, to the port that it has come to, and answers what comes back. */
export async function answerQuery(request: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    if (isFromPage(request.headers))
      throw new AwsError('AccessDenied', 'Web pages may not use the embedded AWS.', 403)
    const [path = '', search = ''] = (request.url ?? '').split('?', 2)
    const parameters = new URLSearchParams(`${search}&${await readBody(request)}`)
    const action = parameters.get('Action') ?? ''
    if (!/^\w+$/.test(action)) throw new AwsError('MissingAction', 'The request must contain an action.')
    for (const name of ['Action', 'Version']) parameters.delete(name)
    // Requests about a queue go to its URL, and need not name it once more.
    if (path !== '/' && !parameters.has('QueueUrl'))
      parameters.set('QueueUrl', `http://${request.headers.host}${path}`)
    const { Tags, ...input } = inputOf(parameters)
    const tags = Tags === undefined ? {} : { [action === 'CreateQueue' ? 'tags' : 'Tags']: Tags }
    const answer = await ask(request, response, action, JSON.stringify({ ...input, ...tags }))
    const id = newRequestId()
    const content = WITHOUT_RESULT.has(action) ? [] : [xml(`${action}Result`, documentOf(action, answer))]
    const document = xml(`${action}Response`, [...content, xml('ResponseMetadata', [xml('RequestId', id)])])
    response.writeHead(200, { 'content-type': 'text/xml' }).end(inNamespace(document, XMLNS))
  } catch (error) {
    if (response.destroyed) return
    const known = error instanceof AwsError ? error : new AwsError('InternalFailure', String(error), 500)
    sendQueryError(known, response, XMLNS)
  }
}

const XMLNS = 'http://queue.amazonaws.com/doc/2012-11-05/'

/** @throws AwsError for a refusal, by its name in this protocol */
async function ask(
  { headers, socket }: IncomingMessage,
  response: ServerResponse,
  action: string,
  body: string,
): Promise<Record<string, unknown>> {
  const { host = '', authorization = '' } = headers
  const asked = send({
    host: socket.localAddress,
    port: socket.localPort,
    method: 'POST',
    path: '/',
    headers: {
      host,
      authorization,
      'content-type': 'application/x-amz-json-1.0',
      'x-amz-target': `AmazonSQS.${action}`,
    },
  })
  // A receive waits, and takes no message once its caller has gone.
  response.once('close', () => asked.destroy())
  // The wait below hears of it; after that an error would end the process.
  asked.on('error', () => {})
  asked.end(body)
  const [answer] = (await once(asked, 'response')) as [IncomingMessage]
  const content = parseJson((await readBody(answer)) || '{}') as Record<string, unknown>
  const { statusCode = 500 } = answer
  if (statusCode === 200) return content
  const [name = ''] = String(answer.headers['x-amzn-query-error'] ?? content['__type']).split(';')
  throw new AwsError(name.slice(name.indexOf('#') + 1), String(content['message']), statusCode)
}

function documentOf(action: string, content: object): string[] {
  return Object.entries(content).flatMap(([name, value]) => {
    const map = [...MAPS].find(([, [inJson]]) => inJson === name)
    if (map !== undefined) {
      const [element, [, key, ofKey]] = map
      return Object.entries(value).map(([inMap, item]) =>
        xml(element, [xml(key, inMap), written(action, ofKey, item)]),
      )
    }
    const element = name === 'Successful' ? `${action}ResultEntry` : ELEMENTS.get(name)
    return (element === undefined ? [value] : value).map((item: unknown) =>
      written(action, element ?? name, item),
    )
  })
}

const written = (action: string, name: string, value: unknown): string =>
  xml(name, typeof value === 'object' && value !== null ? documentOf(action, value) : String(value))
