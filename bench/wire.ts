import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import {
  DescribeTableCommand,
  DynamoDBClient,
  GetItemCommand,
  type TableDescription,
} from '@aws-sdk/client-dynamodb'
import { clientOptions } from '../shared/aws.ts'

/** A value as DynamoDB's protocol has it, as `{"S": "text"}`. */
type Value = Record<string, unknown>
type Item = Record<string, Value>

const bytes = (text: string): number => Buffer.byteLength(text)

/** Amazon DynamoDB developer guide, "DynamoDB item sizes and formats". */
function sizeOf(value: Value): number {
  const [[type, content] = ['', '']] = Object.entries(value)
  if (type === 'S') return bytes(String(content))
  if (type === 'N') return Math.ceil(String(content).replace(/[-.]/g, '').length / 2) + 1
  if (type === 'B') return (content as Uint8Array).length
  if (type === 'L') return 3 + (content as Value[]).reduce((sum, one) => sum + 1 + sizeOf(one), 0)
  if (type === 'M') return 3 + sizeOfItem(content as Item) + Object.keys(content as Item).length
  return 1
}
const sizeOfItem = (item: Item): number =>
  Object.entries(item).reduce((sum, [name, value]) => sum + bytes(name) + sizeOf(value), 0)

export interface Counted {
  requests: number
  writeUnits: number
  readUnits: number
}

/** The key of an item in a table. */
interface Written {
  table: string
  key: Item
}

/** Stands before an endpoint of AWS, counts what passes, and reckons what DynamoDB would bill for it. */
export class Wire {
  readonly counted = new Map<string, Counted>()
  readonly #dynamo: DynamoDBClient
  readonly #target: URL
  readonly #tables = new Map<string, TableDescription>()
  /** DynamoDB's calls one after another, as what is there before and after each is looked at. */
  #turn: Promise<unknown> = Promise.resolve()
  readonly #server = createServer(async (incoming, outgoing) => {
    const body = await buffer(incoming)
    const operation = this.#operationOf(
      incoming.method ?? '',
      incoming.url ?? '',
      incoming.headers['x-amz-target'],
    )
    const forward = (): Promise<{ status: number; answer: Buffer }> =>
      new Promise((resolve, reject) => {
        const { hostname, port } = this.#target
        const { method, url: path, headers } = incoming
        const sent = request({ hostname, port, method, path, headers }, async (response) => {
          const answer = await buffer(response)
          outgoing.writeHead(response.statusCode ?? 500, response.headers).end(answer)
          resolve({ status: response.statusCode ?? 500, answer })
        })
        sent.once('error', reject).end(body)
      })
    const entry = this.counted.get(operation) ?? { requests: 0, writeUnits: 0, readUnits: 0 }
    this.counted.set(operation, entry)
    entry.requests += 1
    if (!operation.startsWith('DynamoDB')) return void forward()
    this.#turn = this.#turn.then(() => this.#count(entry, operation, JSON.parse(body.toString()), forward))
  })

  constructor(target: string) {
    this.#target = new URL(target)
    const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }
    this.#dynamo = new DynamoDBClient(clientOptions({ endpoint: target, region: 'us-east-1', credentials }))
  }

  async start(tables: string[]): Promise<string> {
    for (const TableName of tables) {
      const { Table = {} } = await this.#dynamo.send(new DescribeTableCommand({ TableName }))
      this.#tables.set(TableName, Table)
    }
    await new Promise<void>((listening) => this.#server.listen(0, '127.0.0.1', listening))
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  stop(): void {
    this.#dynamo.destroy()
    this.#server.close()
    this.#server.closeAllConnections()
  }

  #operationOf(method: string, url: string, target: string | string[] | undefined): string {
    const [service = '', operation] = String(target ?? '').split('.')
    if (operation !== undefined)
      return `${service.split('_')[0]?.replace('AWSEvents', 'EventBridge')} ${operation}`
    const [, , folder = ''] = url.split('/')
    return `S3 ${method} ${folder}`
  }

  async #count(
    entry: Counted,
    operation: string,
    input: Record<string, unknown>,
    forward: () => Promise<{ status: number; answer: Buffer }>,
  ): Promise<void> {
    const keys = this.#writtenKeys(operation, input)
    const before = await Promise.all(keys.map((key) => this.#item(key)))
    const { status, answer } = await forward()
    if (operation.endsWith(' GetItem')) {
      const { Item = {} } = JSON.parse(answer.toString()) as { Item?: Item }
      entry.readUnits += readUnits(sizeOfItem(Item), input['ConsistentRead'] === true)
    }
    if (operation.endsWith(' BatchGetItem')) {
      const { Responses = {} } = JSON.parse(answer.toString()) as { Responses?: Record<string, Item[]> }
      const found = Object.values(Responses).flat()
      for (const item of found) entry.readUnits += readUnits(sizeOfItem(item), false)
      // What is not there is billed too.
      const asked = Object.values(input['RequestItems'] as Record<string, { Keys: Item[] }>)
      entry.readUnits += (asked.flatMap(({ Keys }) => Keys).length - found.length) * readUnits(0, false)
    }
    for (const [at, key] of keys.entries()) {
      const after = status === 200 ? await this.#item(key) : before[at]
      entry.writeUnits += writeUnits(this.#tables.get(key.table), before[at], after)
    }
  }

  #writtenKeys(operation: string, input: Record<string, unknown>): Written[] {
    const keyOf = (table: string, item: Item): Item =>
      Object.fromEntries(ownKeys(this.#tables.get(table)).map((name) => [name, item[name] ?? {}]))
    const table = String(input['TableName'])
    if (/ (Update|Delete)Item$/.test(operation)) return [{ table, key: input['Key'] as Item }]
    if (operation.endsWith(' PutItem')) return [{ table, key: keyOf(table, input['Item'] as Item) }]
    if (!operation.endsWith(' BatchWriteItem')) return []
    const all = input['RequestItems'] as Record<string, Record<string, { Item?: Item; Key?: Item }>[]>
    return Object.entries(all).flatMap(([name, requests]) =>
      requests.flatMap((one) =>
        Object.values(one).map(({ Item, Key }) => ({ table: name, key: Key ?? keyOf(name, Item ?? {}) })),
      ),
    )
  }

  async #item({ table, key }: Written): Promise<Item | undefined> {
    const { Item } = await this.#dynamo.send(
      new GetItemCommand({ TableName: table, Key: key as never, ConsistentRead: true }),
    )
    // The client's bytes are no text, which the sizes here are of.
    return Item as Item | undefined
  }
}

const ownKeys = (table: TableDescription | undefined): string[] =>
  (table?.KeySchema ?? []).map(({ AttributeName = '' }) => AttributeName)

/** DynamoDB developer guide, "Read and write capacity" and "Managing throughput of global secondary indexes". */
function writeUnits(
  table: TableDescription | undefined,
  before: Item | undefined,
  after: Item | undefined,
): number {
  const units = (item: Item | undefined): number =>
    item ? Math.max(1, Math.ceil(sizeOfItem(item) / 1_024)) : 0
  const own = Math.max(1, units(before), units(after))
  const indexes = (table?.GlobalSecondaryIndexes ?? []).map(({ KeySchema = [], Projection }) => {
    const keys = KeySchema.map(({ AttributeName = '' }) => AttributeName)
    const names = new Set([...keys, ...ownKeys(table), ...(Projection?.NonKeyAttributes ?? [])])
    const projected = (item: Item | undefined): Item | undefined =>
      item && keys.every((name) => name in item)
        ? Object.fromEntries(
            Object.entries(item).filter(([name]) => Projection?.ProjectionType === 'ALL' || names.has(name)),
          )
        : undefined
    const [old, fresh] = [projected(before), projected(after)]
    if (JSON.stringify(sorted(old)) === JSON.stringify(sorted(fresh))) return 0
    const keyOf = (item: Item): string => JSON.stringify(keys.map((name) => item[name]))
    // With another key, the entry is deleted and put.
    if (old && fresh && keyOf(old) !== keyOf(fresh)) return units(old) + units(fresh)
    return Math.max(units(old), units(fresh))
  })
  return indexes.reduce((sum, one) => sum + one, own)
}

const sorted = (item: Item | undefined): unknown[] =>
  Object.entries(item ?? {}).sort(([a], [b]) => (a < b ? -1 : 1))
const readUnits = (size: number, consistent: boolean): number =>
  Math.max(1, Math.ceil(size / 4_096)) * (consistent ? 1 : 0.5)
