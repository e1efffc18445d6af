import { randomUUID } from 'node:crypto'
import * as z from 'zod'
import { readIfThere, writeWhole } from '../files.ts'
import { AwsError } from '../json.ts'
import { notFound } from './errors.ts'
import { compileEventPattern } from './event-pattern.ts'
import { arn, busName, description, headerName, headerValue, name64, tags } from './schemas.ts'
import { targetSchema } from './targets.ts'

const ruleSchema = z.object({
  Name: name64,
  EventPattern: z.string(),
  State: z.enum(['ENABLED', 'DISABLED']),
  Description: description,
  RoleArn: arn.optional(),
  Tags: tags,
  Targets: z.array(targetSchema),
})
const busSchema = z.object({
  Name: busName,
  Description: description,
  CreationTime: z.number(),
  LastModifiedTime: z.number(),
  Tags: tags,
  Rules: z.array(ruleSchema),
})
export const authSchema = z.union([
  z.object({
    AuthorizationType: z.literal('API_KEY'),
    ApiKey: z.object({ ApiKeyName: headerName, ApiKeyValue: headerValue }),
  }),
  z.object({
    AuthorizationType: z.literal('BASIC'),
    Basic: z.object({ Username: headerValue, Password: headerValue }),
  }),
])
const connectionSchema = z.object({
  Name: name64,
  Arn: arn,
  Description: description,
  Auth: authSchema,
  CreationTime: z.number(),
})
const destinationSchema = z.object({
  Name: name64,
  Arn: arn,
  Description: description,
  ConnectionArn: arn,
  InvocationEndpoint: z.string(),
  InvocationRateLimitPerSecond: z.int().min(1),
  CreationTime: z.number(),
})
const stateSchema = z.object({
  buses: z.array(busSchema),
  connections: z.array(connectionSchema).default([]),
  apiDestinations: z.array(destinationSchema).default([]),
})

export type Rule = z.infer<typeof ruleSchema>
export type Bus = z.infer<typeof busSchema>
export type Connection = z.infer<typeof connectionSchema>
export type Destination = z.infer<typeof destinationSchema>
export type State = z.infer<typeof stateSchema>

export interface StoreOptions {
  region: string
  accountId: string
  now: () => Date
  /** Where buses, rules, targets and connections, with their secrets, are kept between runs; nothing is without it. */
  file?: string
  /** How it is written. */
  write?: typeof writeWhole
}
export type Store = ReturnType<typeof createStore>

/** @throws Error when the file of an earlier run cannot be read */
export function createStore({ region, accountId, now, file, write = writeWhole }: StoreOptions) {
  const seconds = () => Math.floor(now().getTime() / 1000)
  const newBus = (Name: string): Bus => ({
    Name,
    CreationTime: seconds(),
    LastModifiedTime: seconds(),
    Tags: [],
    Rules: [],
  })
  const empty: State = { buses: [newBus('default')], connections: [], apiDestinations: [] }
  let state = file === undefined ? empty : readState(file, empty)

  const arnPrefix = `arn:aws:events:${region}:${accountId}`
  const busArn = (bus: Bus) => `${arnPrefix}:event-bus/${bus.Name}`
  const ruleArn = (bus: Bus, { Name }: { Name: string }) =>
    `${arnPrefix}:rule/${bus.Name === 'default' ? '' : `${bus.Name}/`}${Name}`
  const lookUpBus = (from: State, nameOrArn = 'default') =>
    from.buses.find((bus) => bus.Name === nameOrArn || busArn(bus) === nameOrArn)

  return {
    state: (): State => state,
    /** Changes a copy, which takes effect once it is on disk: a refusal half-way changes nothing. */
    change: <T>(mutate: (draft: State) => T): T => {
      const draft = structuredClone(state)
      const answer = mutate(draft)
      if (file !== undefined) write(file, draft)
      state = draft
      return answer
    },
    /** Seconds since 1970. */
    seconds,
    newBus,
    busArn,
    ruleArn,
    /** Connections and API destinations get another one each time, as names may be used again. */
    newArn: (kind: 'connection' | 'api-destination', name: string) =>
      `${arnPrefix}:${kind}/${name}/${randomUUID()}`,
    lookUpBus,
    findBus: (from: State, nameOrArn?: string): Bus => {
      const bus = lookUpBus(from, nameOrArn)
      if (bus === undefined) throw notFound(`Event bus ${nameOrArn} does not exist.`)
      return bus
    },
    findTagged: (from: State, resourceArn: string): Bus | Rule => {
      for (const bus of from.buses) {
        if (busArn(bus) === resourceArn) return bus
        const rule = bus.Rules.find((candidate) => ruleArn(bus, candidate) === resourceArn)
        if (rule !== undefined) return rule
      }
      throw notFound(`Resource ${resourceArn} does not exist.`)
    },
  }
}

export function findRule(bus: Bus, name: string): Rule {
  const rule = bus.Rules.find((candidate) => candidate.Name === name)
  if (rule === undefined) throw notFound(`Rule ${name} does not exist on EventBus ${bus.Name}.`)
  return rule
}
export function findConnection({ connections }: State, name: string): Connection {
  const connection = connections.find(({ Name }) => Name === name)
  if (connection === undefined)
    throw notFound(`Failed to describe the connection(s). Connection '${name}' does not exist.`)
  return connection
}
export function findDestination({ apiDestinations }: State, name: string): Destination {
  const destination = apiDestinations.find(({ Name }) => Name === name)
  if (destination === undefined)
    throw notFound(`Failed to describe the api-destination(s). Api-destination '${name}' does not exist.`)
  return destination
}
export const connectionOf = ({ connections }: State, destination: Destination) =>
  connections.find(({ Arn }) => Arn === destination.ConnectionArn)

function readState(file: string, empty: State): State {
  const text = readIfThere(file)
  if (text === undefined) return empty
  try {
    const state = stateSchema.parse(JSON.parse(text))
    for (const { EventPattern } of state.buses.flatMap((bus) => bus.Rules)) compileEventPattern(EventPattern)
    return state
  } catch (cause) {
    const isOfFile = cause instanceof SyntaxError || cause instanceof z.ZodError || cause instanceof AwsError
    if (!isOfFile) throw cause
    throw new Error(
      `The buses and rules in ${file} cannot be read; delete the file to start without any, or restore it.`,
      { cause },
    )
  }
}
