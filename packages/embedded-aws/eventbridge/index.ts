import { randomUUID } from 'node:crypto'
import * as z from 'zod'
import { type Clock, machineClock } from '../clock.ts'
import { readIfThere, writeWhole } from '../files.ts'
import { AwsError, type JsonService } from '../json.ts'
import { DiskFull } from '../storage.ts'
import { createApiDestinationCalls, Undelivered } from './api-destination-calls.ts'
import {
  apiDestinationOperations,
  checkHttpTarget,
  connectionSchema,
  destinationSchema,
  httpParametersSchema,
} from './api-destinations.ts'
import { compileEventPattern, isObject } from './event-pattern.ts'
import {
  arn,
  checkQuota,
  description,
  invalid,
  listed,
  name64,
  notFound,
  type Operation,
  operation,
  page,
} from './input.ts'

/**
 * A stand-in for Amazon EventBridge: buses, rules with event patterns, and targets, which are SQS queues and API
 * destinations. Inputs are strict, so what it does not know (schedules, input transformers, archives, …) is refused by
 * name and never ignored. Names, limits and messages are those of the API reference (2015-10-07) and of answers
 * recorded from AWS.
 *
 * It differs from AWS in these ways: an event is in its queues before PutEvents answers, by one try, as a queue here
 * is there or not; there is one account, one region, and no permissions (the RoleArn of an API destination must be
 * there and is not looked up); no schedules run.
 */
export interface EventBridgeOptions {
  region: string
  accountId: string
  /** Sends one message to an SQS queue by ARN; rejects with an Error if the queue is not there, DiskFull if that is so. */
  deliver: (queueArn: string, body: string, attributes?: Record<string, string>) => Promise<void>
  /** Where buses, rules, targets and connections, with their secrets, are kept between runs; nothing is without it. */
  file?: string
  /** How it is written. */
  write?: typeof writeWhole
  now?: () => Date
  /** By which API destinations are called. */
  clock?: Clock
  /** Hears of an event that no target queue and no dead-letter queue took. AWS drops it after 24 hours. */
  onDropped?: (dropped: { ruleArn: string; targetArn: string; eventId: string; reason: unknown }) => void
}

/**
 * 1 MiB for all entries together: 256 KB until January 2026, "less than 1MB" in the API reference since; exactly
 * 1,048,576 bytes were measured to pass.
 */
const MAX_REQUEST_BYTES = 1024 * 1024
/** What an entry's Time counts for (user guide, "Calculating PutEvents event entry size"). */
const TIME_BYTES = 14
/** Default quotas of the user guide for its classic event bus, in characters and counts. */
const MAX_PATTERN_LENGTH = 2048
const MAX_TARGETS_PER_RULE = 5
const MAX_RULES_PER_BUS = 300
const MAX_BUSES = 100
/** Seconds of the last moment that fits the four-digit year of an event's time. */
const LAST_SECOND = 253_402_300_799

const busName = z
  .string()
  .max(256)
  .regex(/^[/.\-_A-Za-z0-9]+$/)
const busNameOrArn = z
  .string()
  .max(1600)
  .regex(/^(arn:aws[\w-]*:events:[a-z]+-[a-z]+-[\w-]+:\d{12}:event-bus\/)?[/.\-_A-Za-z0-9]+$/)
const tags = z.array(z.strictObject({ Key: z.string().min(1).max(128), Value: z.string().max(256) }))
const ruleOfBus = { EventBusName: busNameOrArn.optional() }
const namedRule = z.strictObject({ Name: name64, ...ruleOfBus })

const targetSchema = z.strictObject({
  Id: name64,
  Arn: arn,
  RoleArn: arn.optional(),
  HttpParameters: httpParametersSchema.optional(),
  Input: z.string().max(8192).optional(),
  InputPath: z.string().max(256).optional(),
  DeadLetterConfig: z.strictObject({ Arn: arn.optional() }).optional(),
  RetryPolicy: z
    .strictObject({
      MaximumRetryAttempts: z.int().min(0).max(185).optional(),
      MaximumEventAgeInSeconds: z.int().min(60).max(86_400).optional(),
    })
    .optional(),
})
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
const stateSchema = z.object({
  buses: z.array(busSchema),
  connections: z.array(connectionSchema).default([]),
  apiDestinations: z.array(destinationSchema).default([]),
})

const entrySchema = z.strictObject({
  Source: z.string().optional(),
  DetailType: z.string().optional(),
  Detail: z.string().optional(),
  Resources: z.array(z.string()).optional(),
  /** Seconds since 1970, the timestamp of AWS JSON 1.1. */
  Time: z.number().min(0).max(LAST_SECOND).optional(),
  EventBusName: busNameOrArn.optional(),
  TraceHeader: z.string().min(1).max(500).optional(),
})

type Target = z.infer<typeof targetSchema>
type Rule = z.infer<typeof ruleSchema>
type Bus = z.infer<typeof busSchema>
type State = z.infer<typeof stateSchema>
type Entry = z.infer<typeof entrySchema>

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function entryBytes(entry: Entry): number {
  const texts = [entry.Source, entry.DetailType, entry.Detail, ...(entry.Resources ?? [])]
  return texts.reduce(
    (sum, text) => sum + Buffer.byteLength(text ?? ''),
    entry.Time === undefined ? 0 : TIME_BYTES,
  )
}

/**
 * What is wrong with one entry, as PutEvents answers it in the entry's place. The API reference says that the
 * whole call fails when no entry is complete; recorded answers show that even then each entry is answered.
 */
function entryProblem({ Source = '', DetailType = '', Detail = '' }: Entry) {
  const problem = (ErrorCode: string, ErrorMessage: string) => ({ ErrorCode, ErrorMessage })
  const required = { Source, DetailType, Detail }
  for (const [name, value] of Object.entries(required))
    if (value === '')
      return problem(
        'InvalidArgument',
        `Parameter ${name} is not valid. Reason: ${name} is a required argument.`,
      )
  if (DetailType.length > 128)
    return problem('InvalidArgument', 'Parameter DetailType is not valid. Reason: over 128 characters.')
  if (Source.startsWith('aws.'))
    return problem('NotAuthorizedForSourceException', 'Not authorized for the source.')
  if (!isObject(parseJson(Detail))) return problem('MalformedDetail', 'Detail is malformed.')
  return undefined
}

/** The part of the event at an InputPath such as `$.detail.labels[0]`; `undefined` where there is none. */
const atPath = (event: unknown, path: string): unknown =>
  (path.slice(1).match(/[^.[\]]+/g) ?? []).reduce<unknown>(
    (value, key) =>
      typeof value === 'object' && value !== null && Object.hasOwn(value, key)
        ? (value as Record<string, unknown>)[key]
        : undefined,
    event,
  )

/** What a target is sent. AWS does not say what it sends for a path that the event lacks: here it is a failure. */
function targetInput(target: Target, event: object): string {
  if (target.Input !== undefined) return target.Input
  const input = target.InputPath === undefined ? event : atPath(event, target.InputPath)
  if (input === undefined)
    throw new Undelivered('INVALID_PARAMETER', `The event has nothing at the InputPath ${target.InputPath}.`)
  return JSON.stringify(input)
}

/** The service that an ARN names; empty for anything else. */
const serviceOf = (text: string): string => /^arn:aws[\w-]*:([\w-]+):/.exec(text)?.[1] ?? ''

/** Which kind of target an ARN names: a service, or the one part of EventBridge that is supported. */
const kindOf = (text: string): string =>
  /^arn:aws[\w-]*:events:[^:]*:[^:]*:api-destination\//.test(text) ? 'api-destination' : serviceOf(text)
const TARGET_KINDS = ['sqs', 'api-destination']

function checkTarget(target: Target): void {
  const invalidArn = (reason: string) => invalid(`Parameter ${target.Arn} is not valid. Reason: ${reason}`)
  const kind = kindOf(target.Arn)
  if (kind === '') throw invalidArn('Provided Arn is not in correct format.')
  if (!TARGET_KINDS.includes(kind))
    throw invalidArn(
      `targets of type ${kind} are not supported by the embedded EventBridge, only ${TARGET_KINDS}.`,
    )
  if (kind === 'api-destination') checkHttpTarget(target)
  else if (target.RoleArn !== undefined || target.HttpParameters !== undefined)
    throw invalid(
      `RoleArn and HttpParameters of target ${target.Id} are not supported by the embedded EventBridge: they are for API destinations.`,
    )
  if (target.Arn.endsWith('.fifo'))
    throw invalidArn('FIFO queues are not supported by the embedded EventBridge.')
  if (target.Input !== undefined && target.InputPath !== undefined)
    throw invalid(
      `Only one of Input, InputPath, or InputTransformer must be provided for target ${target.Id}.`,
    )
  if (target.Input !== undefined && parseJson(target.Input) === undefined)
    throw invalid(`JSON syntax error in input for target ${target.Id}.`)
  if (target.InputPath !== undefined && !/^\$(\.[^.[\]'"\s]+(\[\d+\])*)*$/.test(target.InputPath))
    throw invalid(`InputPath for target ${target.Id} is invalid.`)
  const deadLetters = target.DeadLetterConfig?.Arn
  if (deadLetters !== undefined && serviceOf(deadLetters) !== 'sqs')
    throw invalid(`${serviceOf(deadLetters) || deadLetters} is not supported as a dead letter resource.`)
  if (deadLetters?.endsWith('.fifo')) throw invalid('SQS FIFO is not supported by Dead Letter Queues.')
}

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

export interface EventBridge {
  service: JsonService
  /** What is still on its way to an endpoint goes to its dead-letter queue. */
  stop: () => Promise<void>
}

/** @throws Error when the file of an earlier run cannot be read */
export function createEventBridge(options: EventBridgeOptions): EventBridge {
  const { region, accountId, deliver, file, write = writeWhole } = options
  const { now = () => new Date(), clock = machineClock } = options
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

  /** Changes a copy, which takes effect once it is on disk: a refusal half-way changes nothing. */
  function change<T>(mutate: (draft: State) => T): T {
    const draft = structuredClone(state)
    const answer = mutate(draft)
    if (file !== undefined) write(file, draft)
    state = draft
    return answer
  }

  const endpoints = createApiDestinationCalls(() => state, clock)
  const calls = new Set<Promise<void>>()

  const arnPrefix = `arn:aws:events:${region}:${accountId}`
  const busArn = (bus: Bus) => `${arnPrefix}:event-bus/${bus.Name}`
  const ruleArn = (bus: Bus, { Name }: { Name: string }) =>
    `${arnPrefix}:rule/${bus.Name === 'default' ? '' : `${bus.Name}/`}${Name}`

  const lookUpBus = (from: State, nameOrArn = 'default') =>
    from.buses.find((bus) => bus.Name === nameOrArn || busArn(bus) === nameOrArn)
  function findBus(from: State, nameOrArn?: string): Bus {
    const bus = lookUpBus(from, nameOrArn)
    if (bus === undefined) throw notFound(`Event bus ${nameOrArn} does not exist.`)
    return bus
  }
  function findRule(bus: Bus, name: string): Rule {
    const rule = bus.Rules.find((candidate) => candidate.Name === name)
    if (rule === undefined) throw notFound(`Rule ${name} does not exist on EventBus ${bus.Name}.`)
    return rule
  }
  function findTagged(from: State, resourceArn: string): Bus | Rule {
    for (const bus of from.buses) {
      if (busArn(bus) === resourceArn) return bus
      const rule = bus.Rules.find((candidate) => ruleArn(bus, candidate) === resourceArn)
      if (rule !== undefined) return rule
    }
    throw notFound(`Resource ${resourceArn} does not exist.`)
  }

  const busView = (bus: Bus) => ({
    Name: bus.Name,
    Arn: busArn(bus),
    Description: bus.Description,
    CreationTime: bus.CreationTime,
    LastModifiedTime: bus.LastModifiedTime,
  })
  const ruleView = (bus: Bus, { Tags: _, Targets: __, ...rule }: Rule) => ({
    ...rule,
    Arn: ruleArn(bus, rule),
    EventBusName: bus.Name,
  })

  const setState = (State: Rule['State']) =>
    operation(namedRule, ({ Name, EventBusName }) =>
      change((draft) => {
        findRule(findBus(draft, EventBusName), Name).State = State
        return {}
      }),
    )

  /** A queue has the event when this ends. An endpoint may take a day, and nobody waits for it. */
  async function send(bus: Bus, rule: Rule, target: Target, event: { id: string }): Promise<void> {
    if (kindOf(target.Arn) === 'sqs')
      return attempt(bus, rule, target, event, (input) => deliver(target.Arn, input))
    const call = attempt(bus, rule, target, event, (input) => endpoints.deliver(target, input)).catch(
      (reason) => drop(bus, rule, target, event, reason),
    )
    calls.add(call)
    void call.finally(() => calls.delete(call))
  }

  /** A queue that is not there is not tried again, as on AWS: the event goes to the dead-letter queue at once. */
  async function attempt(
    bus: Bus,
    rule: Rule,
    target: Target,
    event: { id: string },
    hand: (input: string) => Promise<void>,
  ): Promise<void> {
    const arns = { RULE_ARN: ruleArn(bus, rule), TARGET_ARN: target.Arn }
    try {
      await hand(targetInput(target, event))
    } catch (error) {
      // The sender hears of it, and sends the event again.
      if (error instanceof DiskFull) throw error
      try {
        if (target.DeadLetterConfig?.Arn === undefined) throw error
        const { attributes } =
          error instanceof Undelivered ? error : new Undelivered('NO_RESOURCE', (error as Error).message)
        await deliver(target.DeadLetterConfig.Arn, JSON.stringify(event), { ...arns, ...attributes })
      } catch (reason) {
        if (reason instanceof DiskFull) throw reason
        drop(bus, rule, target, event, reason)
      }
    }
  }

  const drop = (bus: Bus, rule: Rule, target: Target, event: { id: string }, reason: unknown): void =>
    options.onDropped?.({
      ruleArn: ruleArn(bus, rule),
      targetArn: target.Arn,
      eventId: event.id,
      reason,
    })

  async function publish(entry: Entry): Promise<{ EventId: string }> {
    const time = entry.Time === undefined ? now() : new Date(entry.Time * 1000)
    const event = {
      version: '0',
      id: randomUUID(),
      'detail-type': entry.DetailType,
      source: entry.Source,
      account: accountId,
      time: `${time.toISOString().slice(0, 19)}Z`,
      region,
      resources: entry.Resources ?? [],
      detail: parseJson(entry.Detail ?? ''),
    }
    // AWS accepts an event for a bus that does not exist and drops it: github.com/aws/aws-cli/issues/9186.
    const bus = lookUpBus(state, entry.EventBusName)
    const rules = bus?.Rules.filter(
      (rule) => rule.State === 'ENABLED' && compileEventPattern(rule.EventPattern)(event),
    )
    if (bus !== undefined && rules !== undefined)
      await Promise.all(rules.flatMap((rule) => rule.Targets.map((target) => send(bus, rule, target, event))))
    return { EventId: event.id }
  }

  const operations = new Map<string, Operation>(
    Object.entries({
      ...apiDestinationOperations({ region, accountId, state: () => state, change, seconds }),

      CreateEventBus: operation(
        z.strictObject({ Name: busName, Description: description, Tags: tags.default([]) }),
        ({ Name, Description, Tags }) =>
          change((draft) => {
            if (Name.includes('/')) throw invalid("Event bus name must not contain '/'.")
            if (lookUpBus(draft, Name) !== undefined)
              throw new AwsError('ResourceAlreadyExistsException', `Event bus ${Name} already exists.`)
            const bus: Bus = { ...newBus(Name), Description, Tags }
            checkQuota(draft.buses.push(bus), MAX_BUSES)
            return { EventBusArn: busArn(bus), Description }
          }),
      ),

      DescribeEventBus: operation(z.strictObject({ Name: busNameOrArn.optional() }), ({ Name }) =>
        busView(findBus(state, Name)),
      ),

      ListEventBuses: operation(z.strictObject({ NamePrefix: busName.optional(), ...page }), (input) => {
        const { items, ...more } = listed(state.buses, input)
        return { EventBuses: items.map(busView), ...more }
      }),

      /** Deleting what is not there succeeds, for a bus as for a rule. */
      DeleteEventBus: operation(z.strictObject({ Name: busName }), ({ Name }) =>
        change((draft) => {
          if (Name === 'default') throw invalid('Cannot delete event bus default.')
          if ((lookUpBus(draft, Name)?.Rules.length ?? 0) > 0)
            throw invalid(`Cannot delete event bus ${Name} because it has rules.`)
          draft.buses = draft.buses.filter((bus) => bus.Name !== Name)
          return {}
        }),
      ),

      /** Replaces the whole rule, but neither its targets nor its tags. */
      PutRule: operation(
        namedRule.extend({
          EventPattern: z.string().optional(),
          State: z.enum(['ENABLED', 'DISABLED']).default('ENABLED'),
          Description: description,
          RoleArn: arn.optional(),
          Tags: tags.default([]),
        }),
        ({ EventBusName, EventPattern, ...input }) =>
          change((draft) => {
            if (EventPattern === undefined)
              throw invalid('Parameter(s) EventPattern or ScheduleExpression must be specified.')
            const bus = findBus(draft, EventBusName)
            if (EventPattern.length > MAX_PATTERN_LENGTH)
              throw invalid(
                `Parameter EventPattern for rule ${input.Name} exceeds limit of ${MAX_PATTERN_LENGTH}.`,
              )
            compileEventPattern(EventPattern)
            const old = bus.Rules.find((rule) => rule.Name === input.Name)
            const rule: Rule = {
              ...input,
              EventPattern,
              Tags: old?.Tags ?? input.Tags,
              Targets: old?.Targets ?? [],
            }
            bus.Rules = [...bus.Rules.filter((other) => other !== old), rule]
            checkQuota(bus.Rules.length, MAX_RULES_PER_BUS)
            return { RuleArn: ruleArn(bus, rule) }
          }),
      ),

      DescribeRule: operation(namedRule, ({ Name, EventBusName }) => {
        const bus = findBus(state, EventBusName)
        return { ...ruleView(bus, findRule(bus, Name)), CreatedBy: accountId }
      }),

      ListRules: operation(
        z.strictObject({ NamePrefix: name64.optional(), ...ruleOfBus, ...page }),
        (input) => {
          const bus = findBus(state, input.EventBusName)
          const { items, ...more } = listed(bus.Rules, input)
          return { Rules: items.map((rule) => ruleView(bus, rule)), ...more }
        },
      ),

      EnableRule: setState('ENABLED'),
      DisableRule: setState('DISABLED'),

      DeleteRule: operation(namedRule.extend({ Force: z.boolean().optional() }), ({ Name, EventBusName }) =>
        change((draft) => {
          const bus = findBus(draft, EventBusName)
          const rule = bus.Rules.find((candidate) => candidate.Name === Name)
          if (rule !== undefined && rule.Targets.length > 0)
            throw invalid("Rule can't be deleted since it has targets.")
          bus.Rules = bus.Rules.filter((other) => other !== rule)
          return {}
        }),
      ),

      /** A target with a known Id replaces the old one. */
      PutTargets: operation(
        z.strictObject({ Rule: name64, ...ruleOfBus, Targets: z.array(targetSchema).min(1).max(100) }),
        (input) =>
          change((draft) => {
            const rule = findRule(findBus(draft, input.EventBusName), input.Rule)
            for (const target of input.Targets) {
              checkTarget(target)
              rule.Targets = [...rule.Targets.filter(({ Id }) => Id !== target.Id), target]
            }
            checkQuota(rule.Targets.length, MAX_TARGETS_PER_RULE)
            return { FailedEntryCount: 0, FailedEntries: [] }
          }),
      ),

      ListTargetsByRule: operation(z.strictObject({ Rule: name64, ...ruleOfBus, ...page }), (input) => {
        const rule = findRule(findBus(state, input.EventBusName), input.Rule)
        const { items, ...more } = listed(
          rule.Targets.map((target) => ({ Name: target.Id, target })),
          input,
        )
        return { Targets: items.map(({ target }) => target), ...more }
      }),

      RemoveTargets: operation(
        z.strictObject({
          Rule: name64,
          ...ruleOfBus,
          Ids: z.array(name64).min(1).max(100),
          Force: z.boolean().optional(),
        }),
        (input) =>
          change((draft) => {
            const rule = findRule(findBus(draft, input.EventBusName), input.Rule)
            const FailedEntries = input.Ids.filter((id) => !rule.Targets.some(({ Id }) => Id === id)).map(
              (TargetId) => ({
                TargetId,
                ErrorCode: 'ResourceNotFoundException',
                ErrorMessage: `Rule ${rule.Name} does not have a target with the Id ${TargetId}.`,
              }),
            )
            rule.Targets = rule.Targets.filter(({ Id }) => !input.Ids.includes(Id))
            return { FailedEntryCount: FailedEntries.length, FailedEntries }
          }),
      ),

      /** Once this answers, every event is in its queues, if not at its endpoints: a process killed afterwards has lost nothing. */
      PutEvents: operation(
        z.strictObject({ Entries: z.array(entrySchema).min(1).max(10) }),
        async ({ Entries }) => {
          if (Entries.reduce((sum, entry) => sum + entryBytes(entry), 0) > MAX_REQUEST_BYTES)
            throw invalid('Total size of the entries in the request is over the limit.')
          const results = []
          for (const entry of Entries) results.push(entryProblem(entry) ?? (await publish(entry)))
          return {
            FailedEntryCount: results.filter((result) => 'ErrorCode' in result).length,
            Entries: results,
          }
        },
      ),

      TestEventPattern: operation(
        z.strictObject({ EventPattern: z.string(), Event: z.string() }),
        ({ EventPattern, Event }) => {
          const matches = compileEventPattern(EventPattern)
          const event = parseJson(Event)
          const required = ['id', 'account', 'source', 'time', 'region', 'detail-type']
          if (!isObject(event) || !required.every((key) => Object.hasOwn(event, key)))
            throw invalid(`Parameter Event is not valid. Reason: it must have ${required.join(', ')}.`)
          return { Result: matches(event) }
        },
      ),

      TagResource: operation(z.strictObject({ ResourceARN: arn, Tags: tags }), ({ ResourceARN, Tags }) =>
        change((draft) => {
          const resource = findTagged(draft, ResourceARN)
          const kept = resource.Tags.filter((old) => !Tags.some(({ Key }) => Key === old.Key))
          resource.Tags = [...kept, ...Tags]
          return {}
        }),
      ),

      UntagResource: operation(
        z.strictObject({ ResourceARN: arn, TagKeys: z.array(z.string()) }),
        ({ ResourceARN, TagKeys }) =>
          change((draft) => {
            const resource = findTagged(draft, ResourceARN)
            resource.Tags = resource.Tags.filter(({ Key }) => !TagKeys.includes(Key))
            return {}
          }),
      ),

      ListTagsForResource: operation(z.strictObject({ ResourceARN: arn }), ({ ResourceARN }) => ({
        Tags: findTagged(state, ResourceARN).Tags,
      })),
    }),
  )

  return {
    service: async (name, input) => {
      const run = operations.get(name)
      if (run === undefined)
        throw new AwsError(
          'UnknownOperationException',
          `The operation ${name} is not supported by the embedded EventBridge.`,
        )
      return await run(input)
    },
    stop: async () => {
      endpoints.stop()
      await Promise.all(calls)
    },
  }
}
