import { randomUUID } from 'node:crypto'
import { DiskFull } from '../storage.ts'
import { invalidArgument, malformedXml, notImplemented, S3Error, s3Document } from './errors.ts'
import type { Context } from './operation.ts'
import { type CreatedObject, NOTIFICATION } from './state.ts'
import { parseXml, type XmlElement, xml } from './xml.ts'

/** One `QueueConfiguration` of a bucket (API reference, PutBucketNotificationConfiguration). */
export interface QueueConfiguration {
  Id: string
  Queue: string
  Event: string[]
  prefix?: string
  suffix?: string
}

/** What becomes an object here; of the other events of S3 (removal, tagging, lifecycle, …) none is sent. */
const EVENTS = ['*', 'Put', 'Post', 'Copy', 'CompleteMultipartUpload'].map((how) => `s3:ObjectCreated:${how}`)
/** The other events of AWS; anything that matches neither is a mistake (user guide, "Supported event types"). */
const OTHER_EVENTS =
  /^s3:(ReducedRedundancyLostObject|IntelligentTiering|(ObjectRemoved|ObjectRestore|Replication|LifecycleTransition|LifecycleExpiration|ObjectTagging|ObjectAcl)(:\w+|:\*)?)$/

const only = (element: XmlElement, names: string[]): void => {
  if (element.children.some((child) => !names.includes(child.name))) throw malformedXml()
}
const texts = (element: XmlElement, name: string): string[] =>
  element.children.filter((child) => child.name === name).map((child) => child.text)

/** @throws S3Error for what S3 refuses, and by name for what the embedded S3 does not do */
export function parseNotifications(document: string): QueueConfiguration[] {
  const root = parseXml(document)
  if (root?.name !== 'NotificationConfiguration') throw malformedXml()
  const configurations = root.children.map((element) => {
    if (
      ['TopicConfiguration', 'CloudFunctionConfiguration', 'EventBridgeConfiguration'].includes(element.name)
    )
      throw notImplemented(`"${element.name}" in a notification configuration, only QueueConfiguration`)
    if (element.name !== 'QueueConfiguration') throw malformedXml()
    only(element, ['Id', 'Queue', 'Event', 'Filter'])
    const [Queue, another] = texts(element, 'Queue')
    const Event = texts(element, 'Event')
    if (Queue === undefined || another !== undefined || Event.length === 0) throw malformedXml()
    const [Id = randomUUID()] = texts(element, 'Id')
    checkQueueArn(Queue)
    Event.forEach(checkEvent)
    return { Id, Queue, Event, ...parseFilter(element.children.find(({ name }) => name === 'Filter')) }
  })
  configurations.forEach((one, index) => {
    const clashing = configurations.slice(index + 1).find((other) => overlap(one, other))
    if (clashing === undefined) return
    throw new S3Error(
      'InvalidArgument',
      'Configuration is ambiguously defined. Cannot have overlapping suffixes in two rules if the prefixes are overlapping for the same event type.',
    )
  })
  return configurations
}

function checkQueueArn(arn: string): void {
  if (!/^arn:aws[\w-]*:sqs:[\w-]+:\d{12}:[\w-]+(\.fifo)?$/.test(arn))
    throw invalidArgument('The ARN could not be parsed', 'Queue', arn)
  if (arn.endsWith('.fifo')) throw invalidArgument('FIFO SQS queues are not supported.', 'Queue', arn)
}

function checkEvent(event: string): void {
  if (EVENTS.includes(event)) return
  if (OTHER_EVENTS.test(event)) throw notImplemented(`"${event}", only ${EVENTS.join(', ')}`)
  throw invalidArgument('The event is not supported for notifications', 'Event', event)
}

function parseFilter(filter: XmlElement | undefined): { prefix?: string; suffix?: string } {
  if (filter === undefined) return {}
  only(filter, ['S3Key'])
  const found: { prefix?: string; suffix?: string } = {}
  for (const rule of filter.children.flatMap(({ children }) => children)) {
    if (rule.name !== 'FilterRule') throw malformedXml()
    const [name = '', value = ''] = [texts(rule, 'Name')[0], texts(rule, 'Value')[0]]
    const kind = name.toLowerCase()
    if (kind !== 'prefix' && kind !== 'suffix')
      throw invalidArgument('filter rule name must be either prefix or suffix', 'FilterRule.Name', name)
    if (found[kind] !== undefined)
      throw invalidArgument(`Cannot specify more than one ${kind} rule in a filter.`, 'FilterRule.Name', name)
    found[kind] = value
  }
  return found
}

/** Whether one object could be an event of both. */
function overlap(one: QueueConfiguration, other: QueueConfiguration): boolean {
  const shared = one.Event.some((event) =>
    other.Event.some(
      (otherEvent) => event === otherEvent || event.endsWith(':*') || otherEvent.endsWith(':*'),
    ),
  )
  const [prefix, otherPrefix] = [one.prefix ?? '', other.prefix ?? '']
  const [suffix, otherSuffix] = [one.suffix ?? '', other.suffix ?? '']
  return (
    shared &&
    (prefix.startsWith(otherPrefix) || otherPrefix.startsWith(prefix)) &&
    (suffix.endsWith(otherSuffix) || otherSuffix.endsWith(suffix))
  )
}

export function notificationsDocument(configurations: QueueConfiguration[]): string {
  return s3Document(
    'NotificationConfiguration',
    configurations.map(({ Id, Queue, Event, prefix, suffix }) => {
      // S3 gives the names back with a capital, however they came.
      const rules = Object.entries({ Prefix: prefix, Suffix: suffix }).flatMap(([name, value]) =>
        value === undefined ? [] : [xml('FilterRule', [xml('Name', name), xml('Value', value)])],
      )
      return xml('QueueConfiguration', [
        xml('Id', Id),
        xml('Queue', Queue),
        ...Event.map((event) => xml('Event', event)),
        ...(rules.length > 0 ? [xml('Filter', [xml('S3Key', rules)])] : []),
      ])
    }),
  )
}

/** What S3 sends to every queue of a new configuration, and a consumer has to take for no event. */
export const testMessage = (Bucket: string, requestId: string): string =>
  JSON.stringify({
    Service: 'Amazon S3',
    Event: 's3:TestEvent',
    Time: new Date().toISOString(),
    Bucket,
    RequestId: requestId,
    HostId: requestId,
  })

/** Sends what a bucket's notifications say of a new object; a queue that has gone costs its own message only. */
export function announce({ fauxqs, region, nextSequencer, onDropped }: Context, object: CreatedObject): void {
  const kept = (fauxqs.bucketSettings.get(object.bucket, NOTIFICATION) ?? []) as QueueConfiguration[]
  for (const configuration of kept) {
    if (!wants(configuration, object)) continue
    try {
      fauxqs.send(configuration.Queue, eventMessage(object, configuration.Id, region, nextSequencer()))
    } catch (reason) {
      // Then the object is not kept either.
      if (reason instanceof DiskFull) throw reason
      onDropped({ eventId: object.requestId, targetArn: configuration.Queue, reason })
    }
  }
}

const wants = (configuration: QueueConfiguration, { how, key }: CreatedObject): boolean =>
  configuration.Event.some(
    (event) => event === `s3:ObjectCreated:${how}` || event === 's3:ObjectCreated:*',
  ) &&
  key.startsWith(configuration.prefix ?? '') &&
  key.endsWith(configuration.suffix ?? '')

/** The message for one object (user guide, "Event message structure"). */
function eventMessage(
  object: CreatedObject,
  configurationId: string,
  awsRegion: string,
  sequencer: string,
): string {
  const record = {
    eventVersion: '2.1',
    eventSource: 'aws:s3',
    awsRegion,
    eventTime: new Date().toISOString(),
    eventName: `ObjectCreated:${object.how}`,
    userIdentity: { principalId: 'EMBEDDED' },
    requestParameters: { sourceIPAddress: object.sourceIp },
    responseElements: { 'x-amz-request-id': object.requestId, 'x-amz-id-2': object.requestId },
    s3: {
      s3SchemaVersion: '1.0',
      configurationId,
      bucket: {
        name: object.bucket,
        ownerIdentity: { principalId: 'EMBEDDED' },
        arn: `arn:aws:s3:::${object.bucket}`,
      },
      object: {
        key: formEncoded(object.key),
        size: object.size,
        eTag: object.etag.replaceAll('"', ''),
        sequencer,
      },
    },
  }
  return JSON.stringify({ Records: [record] })
}

/** As S3 writes keys into events: a space is `+`, and of the ASCII punctuation only `-._*` and `/` stay. */
function formEncoded(key: string): string {
  return encodeURIComponent(key.toWellFormed())
    .replaceAll(/[!'()~]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll('%20', '+')
    .replaceAll('%2F', '/')
}
