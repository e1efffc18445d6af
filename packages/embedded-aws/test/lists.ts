import { expect } from 'vitest'
import { createEventBridge, type EventBridgeOptions } from '../eventbridge/index.ts'

export const region = 'eu-central-1'
export const accountId = '000000000000'
export const queue = (name: string) => `arn:aws:sqs:${region}:${accountId}:${name}`
export const ruleArn = `arn:aws:events:${region}:${accountId}:rule/photos/dogs`

/** An EventBridge whose queues are lists; a queue that was not named is not there. */
export function start(options: Partial<EventBridgeOptions> = {}, names = ['all', 'dogs', 'dead']) {
  const queues = new Map<string, string[]>(names.map((name) => [queue(name), []]))
  const dropped: Parameters<NonNullable<EventBridgeOptions['onDropped']>>[0][] = []
  const { service } = createEventBridge({
    region,
    accountId,
    now: () => new Date('2026-11-20T10:11:12.345Z'),
    deliver: async (queueArn, body) => {
      const messages = queues.get(queueArn)
      if (messages === undefined) throw new Error(`no queue ${queueArn}`)
      messages.push(body)
    },
    onDropped: (event) => dropped.push(event),
    ...options,
  })
  // Answers are what a client sees: after a journey through JSON.
  const call = async (operation: string, input: object = {}) =>
    JSON.parse(JSON.stringify(await service(operation, { ...input })))
  const received = (name: string) => (queues.get(queue(name)) ?? []).map((body) => JSON.parse(body))
  const rule = async (name: string, pattern: object, targets: object[], more: object = {}) => {
    await call('PutRule', { Name: name, EventPattern: JSON.stringify(pattern), ...more })
    return call('PutTargets', { Rule: name, Targets: targets, ...more })
  }
  return { call, received, rule, dropped, queues }
}

export const entry = (detail: unknown, more: object = {}) => ({
  Source: 'image-analyzer',
  DetailType: 'Image Analysis Completed',
  Detail: JSON.stringify(detail),
  ...more,
})
export const refusedAs = (name: string, message: string | RegExp) =>
  expect.objectContaining({ name, status: 400, message: expect.stringMatching(message) })
