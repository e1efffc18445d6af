/** What is known of each emulator of AWS, as far as `npm run deploy-check` has to know it. */
export interface Emulator {
  title: string
  /** The path that only this emulator answers, or that those below do not. */
  health: string
  /** Whose settings of Terraform it takes, if not its own. */
  like?: string
  /** Why no function runs there, if none does. */
  runsNothing?: string
  /** Whether its gateway passes every body on as text, which ruins an image that is not sent as JSON. */
  textOnly?: boolean
  /** Whether its functions are processes of the machine that the emulator is on, and reach what this machine reaches. */
  beside: boolean
  /** Changes that every plan shows, by address and attribute, and why; every other change fails the check. */
  drift: { change: RegExp; sameJson: boolean; reason: string }[]
}

/** In this order they are recognised: MiniStack and floci answer for LocalStack too. */
export const EMULATORS = {
  ministack: { title: 'MiniStack', health: '/_ministack/health', beside: true, drift: [] },
  moto: {
    title: 'moto',
    health: '/moto-api/',
    runsNothing: 'moto runs functions by Docker only',
    beside: true,
    drift: [
      {
        change: /^module\.image_analyzer\.aws_sqs_queue\.\w+(\[0\])?\.redrive_policy$/,
        sameJson: true,
        reason: 'moto gives the JSON back with spaces in it',
      },
      {
        change: /^module\.image_analyzer\.aws_lambda_event_source_mapping\.jobs\.function_name$/,
        sameJson: false,
        reason: 'moto forgets the alias',
      },
    ],
  },
  floci: {
    title: 'floci',
    health: '/_floci/health',
    textOnly: true,
    beside: false,
    drift: [
      {
        change:
          /^module\.image_analyzer\.aws_api_gateway_(integration\.api\["\w+"\]\.timeout_milliseconds|stage\.live\.(access_log_settings|xray_tracing_enabled))$/,
        sameJson: false,
        reason: 'floci forgets it',
      },
    ],
  },
  localstack: { title: 'LocalStack', health: '/_localstack/health', beside: false, drift: [] },
  /** A fork of LocalStack. */
  localemu: {
    title: 'LocalEmu',
    health: '/_localemu/health',
    like: 'localstack',
    beside: false,
    drift: [],
  },
} as const satisfies Record<string, Emulator>
export type EmulatorName = keyof typeof EMULATORS
export const EMULATOR_NAMES = Object.keys(EMULATORS) as EmulatorName[]

const PATIENCE_MS = 10_000

/** @throws Error where none answers, so that no account of AWS is deployed to by mistake */
export async function recognise(endpoint: string, among: readonly EmulatorName[]): Promise<EmulatorName> {
  for (const name of among) {
    const url = endpoint + EMULATORS[name].health
    const answer = await fetch(url, { signal: AbortSignal.timeout(PATIENCE_MS) }).catch(() => undefined)
    await answer?.body?.cancel()
    if (answer?.ok) return name
  }
  const titles = among.map((name) => EMULATORS[name].title).join(', ')
  throw new Error(
    `${endpoint} does not answer as ${titles}. Is it running? deploy-check does not deploy to AWS itself.`,
  )
}

/** @returns what the emulator says of its version; `?` where it says nothing */
export async function versionOf(endpoint: string, name: EmulatorName): Promise<string> {
  const answer = await fetch(endpoint + EMULATORS[name].health, { signal: AbortSignal.timeout(PATIENCE_MS) })
  const said: unknown = await answer.json().catch(() => undefined)
  return String(Object(said).version ?? '?')
}

interface Listing {
  service: string
  method?: 'GET' | 'POST'
  path?: string
  headers?: Record<string, string>
  body?: string
}

const json = (service: string, target: string, version: '1.0' | '1.1', input: object = {}): Listing => ({
  service,
  method: 'POST',
  headers: { 'content-type': `application/x-amz-json-${version}`, 'x-amz-target': target },
  body: JSON.stringify(input),
})

/** How to ask for everything of a kind that Terraform makes here. */
const LISTINGS: Record<string, Listing> = {
  buckets: { service: 's3' },
  queues: json('sqs', 'AmazonSQS.ListQueues', '1.0'),
  tables: json('dynamodb', 'DynamoDB_20120810.ListTables', '1.0'),
  functions: { service: 'lambda', path: '/2015-03-31/functions/' },
  'event source mappings': { service: 'lambda', path: '/2015-03-31/event-source-mappings/' },
  'event buses': json('events', 'AWSEvents.ListEventBuses', '1.1'),
  schedules: json('events', 'AWSEvents.ListRules', '1.1'),
  archives: json('events', 'AWSEvents.ListArchives', '1.1'),
  'REST APIs': { service: 'apigateway', path: '/restapis' },
  'log groups': json('logs', 'Logs_20140328.DescribeLogGroups', '1.1'),
  roles: {
    service: 'iam',
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: 'Action=ListRoles&Version=2010-05-08',
  },
}
export const KINDS = Object.keys(LISTINGS)

/** A request as an SDK would send it, but for the signature: emulators look at the service in it, and verify nothing. */
async function ask(endpoint: string, { service, method = 'GET', path = '/', headers, body }: Listing) {
  const scope = `test/20260101/us-east-1/${service}/aws4_request`
  const authorization = `AWS4-HMAC-SHA256 Credential=${scope}, SignedHeaders=host, Signature=0`
  const answer = await fetch(endpoint + path, {
    method,
    headers: { authorization, ...headers },
    signal: AbortSignal.timeout(PATIENCE_MS),
    ...(body === undefined ? {} : { body }),
  })
  const text = await answer.text()
  if (!answer.ok) throw new Error(`${service} answered ${answer.status}: ${text.slice(0, 300)}`)
  return text
}

/** The kinds of resources among which the emulator names one that has this in its name. */
export async function kindsThatName(endpoint: string, name: string): Promise<string[]> {
  const found: string[] = []
  for (const [kind, listing] of Object.entries(LISTINGS)) {
    if ((await ask(endpoint, listing)).includes(name)) found.push(kind)
  }
  return found
}

/** The last lines that a function has logged, where the emulator keeps them. */
export async function lastLogs(endpoint: string, functionName: string, most: number): Promise<string[]> {
  const listing = json('logs', 'Logs_20140328.FilterLogEvents', '1.1', {
    logGroupName: `/aws/lambda/${functionName}`,
  })
  const { events = [] } = JSON.parse(await ask(endpoint, listing)) as { events?: { message: string }[] }
  return events.slice(-most).map(({ message }) => message.trim())
}
