import { type Clock, machineClock } from '../clock.ts'
import { DiskFull } from '../storage.ts'
import { createApiDestinationCalls } from './api-destination-calls.ts'
import { Undelivered } from './errors.ts'
import { compileEventPattern } from './event-pattern.ts'
import type { Context } from './operation.ts'
import type { Bus, Rule, Store } from './state.ts'
import { kindOf, type Target } from './targets.ts'

export interface DeliveryOptions {
  /** Sends one message to an SQS queue by ARN; rejects with an Error if the queue is not there, DiskFull if that is so. */
  deliver: (queueArn: string, body: string, attributes?: Record<string, string>) => Promise<void>
  /** By which API destinations are called. */
  clock?: Clock
  /** Hears of an event that no target queue and no dead-letter queue took. AWS drops it after 24 hours. */
  onDropped?: (dropped: { ruleArn: string; targetArn: string; eventId: string; reason: unknown }) => void
}

/** The way of an event from the bus to its targets. */
export function createDelivery(
  store: Store,
  { deliver, clock = machineClock, onDropped }: DeliveryOptions,
): { publish: Context['publish']; stop: () => Promise<void> } {
  const endpoints = createApiDestinationCalls(store.state, clock)
  const calls = new Set<Promise<void>>()

  /** A queue has the event when this ends. An endpoint may take a day, so its call continues afterwards. */
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
    const arns = { RULE_ARN: store.ruleArn(bus, rule), TARGET_ARN: target.Arn }
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
    onDropped?.({
      ruleArn: store.ruleArn(bus, rule),
      targetArn: target.Arn,
      eventId: event.id,
      reason,
    })

  return {
    publish: async (event, busNameOrArn) => {
      // AWS accepts an event for a bus that does not exist and drops it: github.com/aws/aws-cli/issues/9186.
      const bus = store.lookUpBus(store.state(), busNameOrArn)
      const plain = JSON.parse(JSON.stringify(event)) // with numbers to compare, not to pass on
      const rules = bus?.Rules.filter(
        (rule) => rule.State === 'ENABLED' && compileEventPattern(rule.EventPattern)(plain),
      )
      if (bus !== undefined && rules !== undefined)
        await Promise.all(
          rules.flatMap((rule) => rule.Targets.map((target) => send(bus, rule, target, event))),
        )
    },
    stop: async () => {
      endpoints.stop()
      await Promise.all(calls)
    },
  }
}

/** What a target is sent. AWS does not say what it sends for a path that the event lacks: here it is a failure. */
function targetInput(target: Target, event: object): string {
  if (target.Input !== undefined) return target.Input
  const input = target.InputPath === undefined ? event : atPath(event, target.InputPath)
  if (input === undefined)
    throw new Undelivered('INVALID_PARAMETER', `The event has nothing at the InputPath ${target.InputPath}.`)
  return JSON.stringify(input)
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
