import { AwsError, type JsonService } from '../json.ts'
import { createDelivery, type DeliveryOptions } from './deliver.ts'
import type { Operation } from './operation.ts'
import { createApiDestination } from './operations/create-api-destination.ts'
import { createConnection } from './operations/create-connection.ts'
import { createEventBus } from './operations/create-event-bus.ts'
import { deleteApiDestination } from './operations/delete-api-destination.ts'
import { deleteConnection } from './operations/delete-connection.ts'
import { deleteEventBus } from './operations/delete-event-bus.ts'
import { deleteRule } from './operations/delete-rule.ts'
import { describeApiDestination } from './operations/describe-api-destination.ts'
import { describeConnection } from './operations/describe-connection.ts'
import { describeEventBus } from './operations/describe-event-bus.ts'
import { describeRule } from './operations/describe-rule.ts'
import { disableRule, enableRule } from './operations/enable-and-disable-rule.ts'
import { listApiDestinations } from './operations/list-api-destinations.ts'
import { listEventBuses } from './operations/list-event-buses.ts'
import { listRules } from './operations/list-rules.ts'
import { listTagsForResource } from './operations/list-tags-for-resource.ts'
import { listTargetsByRule } from './operations/list-targets-by-rule.ts'
import { putEvents } from './operations/put-events.ts'
import { putRule } from './operations/put-rule.ts'
import { putTargets } from './operations/put-targets.ts'
import { removeTargets } from './operations/remove-targets.ts'
import { tagResource } from './operations/tag-resource.ts'
import { testEventPattern } from './operations/test-event-pattern.ts'
import { untagResource } from './operations/untag-resource.ts'
import { createStore, type StoreOptions } from './state.ts'

/**
 * A stand-in for Amazon EventBridge: buses, rules with event patterns, and targets, which are SQS queues and API
 * destinations. Inputs are strict, so what it does not know (schedules, input transformers, archives, …) is refused by
 * name and never ignored. Names, limits and messages are those of the API reference (2015-10-07) and of answers
 * recorded from AWS.
 *
 * It differs from AWS in these ways: an event is in its queues before PutEvents answers, by one try, as a queue here
 * is there or not; there is one account, one region, and no permissions (the RoleArn of an API destination must be
 * there and is not looked up); no schedules run. API destinations have no OAuth, and no method but POST; plain http is
 * let through to this machine only; a secret is kept in the state file, and not in Secrets Manager.
 */
export interface EventBridgeOptions extends Omit<StoreOptions, 'now'>, DeliveryOptions {
  now?: () => Date
}

export interface EventBridge {
  service: JsonService
  /** What is still on its way to an endpoint goes to its dead-letter queue. */
  stop: () => Promise<void>
}

/** By the names that follow the dot in `X-Amz-Target`. */
const OPERATIONS = new Map<string, Operation>(
  Object.entries({
    CreateEventBus: createEventBus,
    DescribeEventBus: describeEventBus,
    ListEventBuses: listEventBuses,
    DeleteEventBus: deleteEventBus,
    PutRule: putRule,
    DescribeRule: describeRule,
    ListRules: listRules,
    EnableRule: enableRule,
    DisableRule: disableRule,
    DeleteRule: deleteRule,
    PutTargets: putTargets,
    ListTargetsByRule: listTargetsByRule,
    RemoveTargets: removeTargets,
    PutEvents: putEvents,
    TestEventPattern: testEventPattern,
    TagResource: tagResource,
    UntagResource: untagResource,
    ListTagsForResource: listTagsForResource,
    CreateConnection: createConnection,
    DescribeConnection: describeConnection,
    DeleteConnection: deleteConnection,
    CreateApiDestination: createApiDestination,
    DescribeApiDestination: describeApiDestination,
    ListApiDestinations: listApiDestinations,
    DeleteApiDestination: deleteApiDestination,
  }),
)

/** @throws Error when the file of an earlier run cannot be read */
export function createEventBridge(options: EventBridgeOptions): EventBridge {
  const { region, accountId, now = () => new Date() } = options
  const store = createStore({ ...options, now })
  const { publish, stop } = createDelivery(store, options)
  const context = { region, accountId, now, store, publish }
  return {
    service: async (name, input) => {
      const run = OPERATIONS.get(name)
      if (run === undefined)
        throw new AwsError(
          'UnknownOperationException',
          `The operation ${name} is not supported by the embedded EventBridge.`,
        )
      return await run(input, context)
    },
    stop,
  }
}
