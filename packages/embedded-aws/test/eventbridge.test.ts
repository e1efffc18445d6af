import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { createEventBridge, type EventBridgeOptions } from '../eventbridge/index.ts'

const region = 'eu-central-1'
const accountId = '000000000000'
const queue = (name: string) => `arn:aws:sqs:${region}:${accountId}:${name}`
const ruleArn = `arn:aws:events:${region}:${accountId}:rule/photos/dogs`

const folder = mkdtempSync(join(tmpdir(), 'eventbridge-'))
afterAll(() => rmSync(folder, { recursive: true }))
let files = 0
const newFile = () => join(folder, `${++files}`, 'events.json')

/** An EventBridge whose queues are lists; a queue that was not named is not there. */
function start(options: Partial<EventBridgeOptions> = {}, names = ['all', 'dogs', 'dead']) {
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

const entry = (detail: unknown, more: object = {}) => ({
  Source: 'image-analyzer',
  DetailType: 'Image Analysis Completed',
  Detail: JSON.stringify(detail),
  ...more,
})
const refusedAs = (name: string, message: string | RegExp) =>
  expect.objectContaining({ name, status: 400, message: expect.stringMatching(message) })

describe('PutEvents', () => {
  it('delivers to the matching targets of the bus, in the standard envelope, before it answers', async () => {
    const { call, received, rule } = start()
    await call('CreateEventBus', { Name: 'photos' })
    const bus = { EventBusName: 'photos' }
    await rule('everything', { source: ['image-analyzer'] }, [{ Id: '1', Arn: queue('all') }], bus)
    await rule('dogs', { detail: { labels: ['Dog'] } }, [{ Id: '1', Arn: queue('dogs') }], bus)
    await rule('dogs', { detail: { labels: ['Dog'] } }, [{ Id: '1', Arn: queue('dead') }]) // of the default bus

    const answer = await call('PutEvents', {
      Entries: [
        entry({ labels: ['Person', 'Dog'] }, { ...bus, Resources: ['arn:x'], Time: 1_700_000_000.9 }),
        entry(
          { labels: ['Cat'] },
          { EventBusName: `arn:aws:events:${region}:${accountId}:event-bus/photos` },
        ),
      ],
    })
    expect(answer).toEqual({
      FailedEntryCount: 0,
      Entries: [{ EventId: expect.stringMatching(/^[0-9a-f-]{36}$/) }, { EventId: expect.any(String) }],
    })
    const [dog, cat] = received('all')
    expect(dog).toEqual({
      version: '0',
      id: answer.Entries[0].EventId,
      'detail-type': 'Image Analysis Completed',
      source: 'image-analyzer',
      account: accountId,
      time: '2023-11-14T22:13:20Z',
      region,
      resources: ['arn:x'],
      detail: { labels: ['Person', 'Dog'] },
    })
    expect(cat).toMatchObject({ id: answer.Entries[1].EventId, time: '2026-11-20T10:11:12Z', resources: [] })
    expect(received('dogs')).toEqual([dog])
    expect(received('dead')).toEqual([])
  })

  it('answers only after a slow queue has the event', async () => {
    let arrived = false
    const deliver = () =>
      new Promise<void>((resolve) => {
        setTimeout(() => {
          arrived = true
          resolve()
        }, 20)
      })
    const { call, rule } = start({ deliver })
    await rule('all', { source: ['image-analyzer'] }, [{ Id: '1', Arn: queue('all') }])
    await call('PutEvents', { Entries: [entry({})] })
    expect(arrived).toBe(true)
  })

  it('answers each entry in its place, and publishes the good ones among the bad', async () => {
    const { call, received, rule } = start()
    await rule('all', { account: [accountId] }, [{ Id: '1', Arn: queue('all') }])
    const required = (name: string) => ({
      ErrorCode: 'InvalidArgument',
      ErrorMessage: `Parameter ${name} is not valid. Reason: ${name} is a required argument.`,
    })
    const malformed = { ErrorCode: 'MalformedDetail', ErrorMessage: 'Detail is malformed.' }
    const published = { EventId: expect.any(String) }
    const answer = await call('PutEvents', {
      Entries: [
        entry({ n: 1 }),
        entry({}, { Source: undefined }),
        entry({}, { DetailType: '' }),
        entry({}, { Detail: undefined }),
        entry({}, { Detail: '{"open":' }),
        entry([]),
        entry('text'),
        entry({}, { DetailType: 'x'.repeat(129) }),
        entry({}, { Source: 'aws.s3' }),
        entry({ n: 2 }),
      ],
    })
    expect(answer).toEqual({
      FailedEntryCount: 8,
      Entries: [
        published,
        required('Source'),
        required('DetailType'),
        required('Detail'),
        malformed,
        malformed,
        malformed,
        { ErrorCode: 'InvalidArgument', ErrorMessage: expect.stringContaining('128') },
        { ErrorCode: 'NotAuthorizedForSourceException', ErrorMessage: 'Not authorized for the source.' },
        published,
      ],
    })
    expect(received('all').map(({ detail }) => detail.n)).toEqual([1, 2])
  })

  it.each([0, 11])('refuses %i entries', async (count) => {
    const { call } = start()
    await expect(call('PutEvents', { Entries: Array(count).fill(entry({})) })).rejects.toEqual(
      refusedAs('ValidationException', /'Entries' failed to satisfy constraint/),
    )
  })

  it('takes exactly 1 MiB of entries, and refuses one byte more without publishing any', async () => {
    const { call, received, rule } = start()
    await rule('all', { account: [accountId] }, [{ Id: '1', Arn: queue('all') }])
    // Source 1, DetailType 1, Time 14, Resources 2 bytes of "é", Detail 8 with its quotes and braces
    const sized = (bytes: number) => ({
      Source: 's',
      DetailType: 't',
      Time: 1_700_000_000,
      Resources: ['é'],
      Detail: JSON.stringify({ a: 'x'.repeat(bytes - 1 - 1 - 14 - 2 - 8) }),
    })
    const half = 512 * 1024
    await expect(call('PutEvents', { Entries: [sized(half), sized(half + 1)] })).rejects.toEqual(
      refusedAs('ValidationException', 'Total size of the entries in the request is over the limit.'),
    )
    expect(received('all')).toEqual([])
    await expect(call('PutEvents', { Entries: [sized(half), sized(half)] })).resolves.toMatchObject({
      FailedEntryCount: 0,
    })
    expect(received('all')).toHaveLength(2)
  })

  it.each(['missing', `arn:aws:events:us-east-1:${accountId}:event-bus/default`])(
    'accepts and drops an event for the bus %s, which is not there, as AWS does',
    async (EventBusName) => {
      const { call, received, rule } = start()
      await rule('all', { account: [accountId] }, [{ Id: '1', Arn: queue('all') }])
      const answer = await call('PutEvents', { Entries: [entry({}, { EventBusName })] })
      expect(answer).toEqual({ FailedEntryCount: 0, Entries: [{ EventId: expect.any(String) }] })
      expect(received('all')).toEqual([])
    },
  )

  it('sends nothing by a disabled rule, and sends again once it is enabled', async () => {
    const { call, received, rule } = start()
    await rule('all', { account: [accountId] }, [{ Id: '1', Arn: queue('all') }])
    await call('DisableRule', { Name: 'all' })
    await call('PutEvents', { Entries: [entry({ n: 1 })] })
    await call('EnableRule', { Name: 'all' })
    await call('PutEvents', { Entries: [entry({ n: 2 })] })
    expect(received('all').map(({ detail }) => detail.n)).toEqual([2])
  })

  it('sends a constant Input, or the part of the event at the InputPath', async () => {
    const { call, received, rule } = start({}, ['constant', 'part', 'element', 'whole'])
    await rule('all', { account: [accountId] }, [
      { Id: '1', Arn: queue('constant'), Input: '{"fixed":true}' },
      { Id: '2', Arn: queue('part'), InputPath: '$.detail-type' },
      { Id: '3', Arn: queue('element'), InputPath: '$.detail.labels[1].Name' },
      { Id: '4', Arn: queue('whole'), InputPath: '$' },
    ])
    await call('PutEvents', { Entries: [entry({ labels: [{ Name: 'Cat' }, { Name: 'Dog' }] })] })
    expect(received('constant')).toEqual([{ fixed: true }])
    expect(received('part')).toEqual(['Image Analysis Completed'])
    expect(received('element')).toEqual(['Dog'])
    expect(received('whole')).toEqual([expect.objectContaining({ version: '0' })])
  })

  it('sends the event to the dead-letter queue when its target does not take it', async () => {
    const { call, received, rule, dropped } = start()
    const DeadLetterConfig = { Arn: queue('dead') }
    await rule('all', { account: [accountId] }, [
      { Id: '1', Arn: queue('gone'), Input: '1', DeadLetterConfig },
      { Id: '2', Arn: queue('all') },
      { Id: '3', Arn: queue('dogs'), InputPath: '$.detail.labels', DeadLetterConfig },
    ])
    const answer = await call('PutEvents', { Entries: [entry({ n: 1 })] })
    expect(answer.FailedEntryCount).toBe(0)
    expect(received('all')).toHaveLength(1)
    expect(received('dogs')).toEqual([])
    expect(received('dead')).toEqual([received('all')[0], received('all')[0]])
    expect(dropped).toEqual([])
  })

  it('reports an event that no queue takes, and publishes the others', async () => {
    const { call, received, rule, dropped } = start()
    await call('CreateEventBus', { Name: 'photos' })
    const bus = { EventBusName: 'photos' }
    await rule(
      'dogs',
      { account: [accountId] },
      [
        { Id: '1', Arn: queue('gone') },
        { Id: '2', Arn: queue('gone-too'), DeadLetterConfig: { Arn: queue('dead-and-gone') } },
        { Id: '3', Arn: queue('all') },
      ],
      bus,
    )
    const answer = await call('PutEvents', { Entries: [entry({}, bus)] })
    const eventId = answer.Entries[0].EventId
    expect(dropped).toEqual([
      { ruleArn, eventId, targetArn: queue('gone'), reason: new Error(`no queue ${queue('gone')}`) },
      {
        ruleArn,
        eventId,
        targetArn: queue('gone-too'),
        reason: new Error(`no queue ${queue('dead-and-gone')}`),
      },
    ])
    expect(received('all')).toHaveLength(1)
  })
})

describe('buses', () => {
  it('are created, described, listed and deleted; the default one is always there', async () => {
    const { call } = start()
    const arn = (name: string) => `arn:aws:events:${region}:${accountId}:event-bus/${name}`
    const at = { CreationTime: 1_795_169_472, LastModifiedTime: 1_795_169_472 }
    expect(await call('CreateEventBus', { Name: 'photos', Description: 'd' })).toEqual({
      EventBusArn: arn('photos'),
      Description: 'd',
    })
    expect(await call('DescribeEventBus', { Name: arn('photos') })).toEqual({
      Name: 'photos',
      Arn: arn('photos'),
      Description: 'd',
      ...at,
    })
    expect(await call('DescribeEventBus')).toEqual({ Name: 'default', Arn: arn('default'), ...at })
    expect((await call('ListEventBuses')).EventBuses.map((bus: { Name: string }) => bus.Name)).toEqual([
      'default',
      'photos',
    ])
    expect((await call('ListEventBuses', { NamePrefix: 'ph' })).EventBuses).toHaveLength(1)
    expect(await call('DeleteEventBus', { Name: 'photos' })).toEqual({})
    expect(await call('DeleteEventBus', { Name: 'photos' })).toEqual({})
    await expect(call('DescribeEventBus', { Name: 'photos' })).rejects.toEqual(
      refusedAs('ResourceNotFoundException', 'Event bus photos does not exist.'),
    )
  })

  it('are refused as on AWS', async () => {
    const { call, rule } = start()
    await call('CreateEventBus', { Name: 'photos' })
    await rule('dogs', { source: ['x'] }, [], { EventBusName: 'photos' }).catch(() => undefined)
    await expect(call('CreateEventBus', { Name: 'photos' })).rejects.toEqual(
      refusedAs('ResourceAlreadyExistsException', 'Event bus photos already exists.'),
    )
    await expect(call('CreateEventBus', { Name: 'a/b' })).rejects.toEqual(
      refusedAs('ValidationException', "must not contain '/'"),
    )
    await expect(call('CreateEventBus', { Name: 'x', EventSourceName: 'aws.partner/a/b' })).rejects.toEqual(
      refusedAs('ValidationException', /EventSourceName is not supported/),
    )
    await expect(call('DeleteEventBus', { Name: 'default' })).rejects.toEqual(
      refusedAs('ValidationException', 'Cannot delete event bus default.'),
    )
    await expect(call('DeleteEventBus', { Name: 'photos' })).rejects.toEqual(
      refusedAs('ValidationException', 'has rules'),
    )
  })

  it('number at most 100, the default one among them', async () => {
    const { call } = start()
    for (let count = 0; count < 99; count += 1) await call('CreateEventBus', { Name: `bus-${count}` })
    await expect(call('CreateEventBus', { Name: 'one-more' })).rejects.toEqual(
      refusedAs('LimitExceededException', 'exceeds the maximum number allowed'),
    )
  })
})

describe('rules and targets', () => {
  const EventPattern = '{"source":["x"]}'

  it('are described and listed, page by page', async () => {
    const { call } = start()
    await call('CreateEventBus', { Name: 'photos' })
    const bus = { EventBusName: 'photos' }
    for (const Name of ['dogs', 'cats', 'birds'])
      expect(await call('PutRule', { Name, EventPattern, ...bus })).toEqual({
        RuleArn: ruleArn.replace('dogs', Name),
      })
    const dogs = { Name: 'dogs', Arn: ruleArn, EventPattern, State: 'ENABLED', ...bus }
    expect(await call('DescribeRule', { Name: 'dogs', ...bus })).toEqual({ ...dogs, CreatedBy: accountId })
    expect(await call('ListRules', { NamePrefix: 'd', ...bus })).toEqual({ Rules: [dogs] })
    expect(await call('ListRules')).toEqual({ Rules: [] })

    const first = await call('ListRules', { Limit: 2, ...bus })
    expect(first.Rules.map((rule: { Name: string }) => rule.Name)).toEqual(['birds', 'cats'])
    expect(await call('ListRules', { Limit: 2, NextToken: first.NextToken, ...bus })).toEqual({
      Rules: [dogs],
    })
    expect(await call('PutRule', { Name: 'dogs', EventPattern })).toEqual({
      RuleArn: `arn:aws:events:${region}:${accountId}:rule/dogs`,
    })
  })

  it('of a rule put again are replaced, but its targets stay', async () => {
    const { call, rule } = start()
    await rule('dogs', { source: ['x'] }, [{ Id: '1', Arn: queue('dogs') }], {})
    await call('PutRule', {
      Name: 'dogs',
      EventPattern: '{"source":["y"]}',
      State: 'DISABLED',
      Description: 'd',
    })
    expect(await call('DescribeRule', { Name: 'dogs' })).toMatchObject({
      EventPattern: '{"source":["y"]}',
      State: 'DISABLED',
      Description: 'd',
    })
    expect((await call('ListTargetsByRule', { Rule: 'dogs' })).Targets).toHaveLength(1)
    await call('PutRule', { Name: 'dogs', EventPattern })
    const again = await call('DescribeRule', { Name: 'dogs' })
    expect(again).toMatchObject({ State: 'ENABLED' })
    expect(again).not.toHaveProperty('Description')
  })

  it('a rule with targets cannot be deleted; without them it can, more than once', async () => {
    const { call, rule } = start()
    await rule('dogs', { source: ['x'] }, [{ Id: '1', Arn: queue('dogs') }])
    await expect(call('DeleteRule', { Name: 'dogs' })).rejects.toEqual(
      refusedAs('ValidationException', "Rule can't be deleted since it has targets."),
    )
    expect(await call('RemoveTargets', { Rule: 'dogs', Ids: ['1', 'other'] })).toEqual({
      FailedEntryCount: 1,
      FailedEntries: [
        { TargetId: 'other', ErrorCode: 'ResourceNotFoundException', ErrorMessage: expect.any(String) },
      ],
    })
    expect(await call('DeleteRule', { Name: 'dogs' })).toEqual({})
    expect(await call('DeleteRule', { Name: 'dogs' })).toEqual({})
    expect(await call('ListRules')).toEqual({ Rules: [] })
  })

  it('targets are listed as they were put, and replaced by Id', async () => {
    const { call, rule } = start()
    const target = {
      Id: '1',
      Arn: queue('dogs'),
      InputPath: '$.detail',
      DeadLetterConfig: { Arn: queue('dead') },
      RetryPolicy: { MaximumRetryAttempts: 2, MaximumEventAgeInSeconds: 60 },
    }
    expect(await rule('dogs', { source: ['x'] }, [{ Id: '1', Arn: queue('all') }])).toEqual({
      FailedEntryCount: 0,
      FailedEntries: [],
    })
    await call('PutTargets', { Rule: 'dogs', Targets: [target] })
    expect(await call('ListTargetsByRule', { Rule: 'dogs' })).toEqual({ Targets: [target] })
  })

  it.each([
    [
      'Lambda',
      { Arn: `arn:aws:lambda:${region}:${accountId}:function:f` },
      /type lambda .*not supported.* only sqs/,
    ],
    [
      'event bus',
      { Arn: `arn:aws:events:${region}:${accountId}:event-bus/other` },
      /type events .*not supported/,
    ],
    [
      'API destination without a role',
      { Arn: `arn:aws:events:${region}:${accountId}:api-destination/a/b` },
      /RoleArn is required for target arn:\S+:api-destination\/a\/b/,
    ],
    ['role for a queue', { RoleArn: 'arn:aws:iam::1:role/r' }, /RoleArn and HttpParameters .* not supported/],
    ['FIFO queue', { Arn: queue('x.fifo') }, /FIFO queues are not supported/],
    ['text', { Arn: 'dogs' }, /Provided Arn is not in correct format/],
    ['InputTransformer', { InputTransformer: { InputTemplate: '"x"' } }, /InputTransformer is not supported/],
    ['SqsParameters', { SqsParameters: { MessageGroupId: 'x' } }, /SqsParameters is not supported/],
    ['Input that is no JSON', { Input: 'word' }, /JSON syntax error in input for target 2/],
    ['InputPath that is no simple path', { InputPath: "$.detail['a']" }, /InputPath for target 2 is invalid/],
    [
      'Input and InputPath',
      { Input: '1', InputPath: '$' },
      /Only one of Input, InputPath, or InputTransformer/,
    ],
    [
      'SNS dead letters',
      { DeadLetterConfig: { Arn: 'arn:aws:sns:x:1:t' } },
      /sns is not supported as a dead letter/,
    ],
    [
      'FIFO dead letters',
      { DeadLetterConfig: { Arn: queue('x.fifo') } },
      /SQS FIFO is not supported by Dead Letter/,
    ],
    [
      'impossible RetryPolicy',
      { RetryPolicy: { MaximumRetryAttempts: 186 } },
      /RetryPolicy.MaximumRetryAttempts/,
    ],
  ])('a target with %s is refused by name, and its neighbours with it', async (_, target, reason) => {
    const { call } = start()
    await call('PutRule', { Name: 'dogs', EventPattern })
    const Targets = [
      { Id: '1', Arn: queue('dogs') },
      { Id: '2', Arn: queue('dogs'), ...target },
    ]
    await expect(call('PutTargets', { Rule: 'dogs', Targets })).rejects.toEqual(
      refusedAs('ValidationException', reason),
    )
    expect(await call('ListTargetsByRule', { Rule: 'dogs' })).toEqual({ Targets: [] })
  })

  it('a rule has at most five targets', async () => {
    const { call, rule } = start()
    const target = (id: number) => ({ Id: `${id}`, Arn: queue('dogs') })
    await rule('dogs', { source: ['x'] }, [1, 2, 3, 4, 5].map(target))
    await expect(call('PutTargets', { Rule: 'dogs', Targets: [target(6)] })).rejects.toEqual(
      refusedAs('LimitExceededException', 'exceeds the maximum number allowed'),
    )
    expect((await call('ListTargetsByRule', { Rule: 'dogs' })).Targets).toHaveLength(5)
  })

  it.each([
    ['no pattern', {}, 'ValidationException', /EventPattern or ScheduleExpression must be specified/],
    [
      'a schedule',
      { EventPattern, ScheduleExpression: 'rate(1 day)' },
      'ValidationException',
      /ScheduleExpression is not supported/,
    ],
    [
      'too many wildcards',
      { EventPattern: '{"a":[{"wildcard":"*:*:*:*:*:event-bus/*"}]}' },
      'InvalidEventPatternException',
      /Rule is too complex/,
    ],
    [
      'an empty pattern',
      { EventPattern: '{}' },
      'InvalidEventPatternException',
      /Empty objects are not allowed/,
    ],
    [
      'a pattern of 2,049 characters',
      { EventPattern: EventPattern.padEnd(2049) },
      'ValidationException',
      /for rule dogs exceeds limit of 2048/,
    ],
    [
      'a missing bus',
      { EventPattern, EventBusName: 'missing' },
      'ResourceNotFoundException',
      /Event bus missing does not exist/,
    ],
    [
      'a bad name',
      { EventPattern, Name: 'a b' },
      'ValidationException',
      /'Name' failed to satisfy constraint/,
    ],
    [
      'an unknown state',
      { EventPattern, State: 'enabled' },
      'ValidationException',
      /'State' failed to satisfy constraint/,
    ],
  ])('a rule with %s is refused', async (_, input, name, reason) => {
    const { call } = start()
    await expect(call('PutRule', { Name: 'dogs', ...input })).rejects.toEqual(refusedAs(name, reason))
    expect(await call('ListRules')).toEqual({ Rules: [] })
  })

  it.each([
    ['DescribeRule', { Name: 'missing' }],
    ['EnableRule', { Name: 'missing' }],
    ['PutTargets', { Rule: 'missing', Targets: [{ Id: '1', Arn: queue('dogs') }] }],
    ['ListTargetsByRule', { Rule: 'missing' }],
    ['RemoveTargets', { Rule: 'missing', Ids: ['1'] }],
  ])('%s names the rule that is not there', async (operation, input) => {
    await expect(start().call(operation, input)).rejects.toEqual(
      refusedAs('ResourceNotFoundException', 'Rule missing does not exist on EventBus default.'),
    )
  })

  it('and buses carry tags', async () => {
    const { call } = start()
    await call('PutRule', { Name: 'dogs', EventPattern, Tags: [{ Key: 'a', Value: '1' }] })
    const ResourceARN = `arn:aws:events:${region}:${accountId}:rule/dogs`
    await call('TagResource', {
      ResourceARN,
      Tags: [
        { Key: 'a', Value: '2' },
        { Key: 'b', Value: '3' },
      ],
    })
    await call('UntagResource', { ResourceARN, TagKeys: ['b'] })
    expect(await call('ListTagsForResource', { ResourceARN })).toEqual({ Tags: [{ Key: 'a', Value: '2' }] })
    await expect(call('ListTagsForResource', { ResourceARN: `${ResourceARN}-x` })).rejects.toEqual(
      refusedAs('ResourceNotFoundException', 'does not exist'),
    )
  })
})

describe('TestEventPattern', () => {
  const event = {
    id: '1',
    account: '1',
    source: 'x',
    time: '2026-11-20T10:11:12Z',
    region,
    'detail-type': 't',
  }

  it('says whether the event matches', async () => {
    const { call } = start()
    const Event = JSON.stringify({ ...event, resources: [] })
    expect(await call('TestEventPattern', { EventPattern: '{"source":["x"]}', Event })).toEqual({
      Result: true,
    })
    expect(await call('TestEventPattern', { EventPattern: '{"source":["y"]}', Event })).toEqual({
      Result: false,
    })
  })

  it.each(['', '[]', '{"id":"1"}'])('refuses the event %j', async (Event) => {
    await expect(
      start().call('TestEventPattern', { EventPattern: '{"source":["x"]}', Event }),
    ).rejects.toEqual(refusedAs('ValidationException', 'Parameter Event is not valid.'))
  })
})

describe('an operation', () => {
  it.each(['PutPermission', 'CreateArchive', 'toString', ''])('%j is refused by name', async (operation) => {
    await expect(start().call(operation)).rejects.toEqual(
      refusedAs('UnknownOperationException', `The operation ${operation} is not supported`),
    )
  })
})

describe('the file', () => {
  it('keeps buses, rules and targets for the next run', async () => {
    const file = newFile()
    const before = start({ file })
    await before.call('CreateEventBus', { Name: 'photos' })
    const bus = { EventBusName: 'photos' }
    await before.rule('dogs', { detail: { labels: ['Dog'] } }, [{ Id: '1', Arn: queue('dogs') }], bus)
    await before.rule('cats', { detail: { labels: ['Cat'] } }, [{ Id: '1', Arn: queue('all') }], bus)
    await before.call('DisableRule', { Name: 'cats', ...bus })

    const after = start({ file })
    expect(await after.call('ListEventBuses')).toEqual(await before.call('ListEventBuses'))
    expect(await after.call('ListRules', bus)).toEqual(await before.call('ListRules', bus))
    await after.call('PutEvents', { Entries: [entry({ labels: ['Dog', 'Cat'] }, bus)] })
    expect(after.received('dogs')).toHaveLength(1)
    expect(after.received('all')).toEqual([])
  })

  it('is written before each change is answered, and alone in its folder', async () => {
    const file = newFile()
    const { call } = start({ file })
    const changes: [string, object][] = [
      ['CreateEventBus', { Name: 'photos' }],
      ['PutRule', { Name: 'dogs', EventPattern: '{"source":["x"]}' }],
      ['PutTargets', { Rule: 'dogs', Targets: [{ Id: '1', Arn: queue('dogs') }] }],
      ['DisableRule', { Name: 'dogs' }],
      ['EnableRule', { Name: 'dogs' }],
      [
        'TagResource',
        { ResourceARN: `arn:aws:events:${region}:${accountId}:rule/dogs`, Tags: [{ Key: 'a', Value: '' }] },
      ],
      ['RemoveTargets', { Rule: 'dogs', Ids: ['1'] }],
      ['DeleteRule', { Name: 'dogs' }],
      ['DeleteEventBus', { Name: 'photos' }],
    ]
    let last = ''
    for (const [operation, input] of changes) {
      await call(operation, input)
      const kept = readFileSync(file, 'utf8')
      expect(kept, operation).not.toBe(last)
      last = kept
    }
    expect(readdirSync(join(file, '..'))).toEqual(['events.json'])
  })

  it('and the memory stay as they were when a change cannot be written', async () => {
    const file = newFile()
    mkdirSync(`${file}.new`, { recursive: true }) // stands where the new file would be written
    const { call } = start({ file })
    await expect(call('CreateEventBus', { Name: 'photos' })).rejects.toThrow()
    await expect(call('DescribeEventBus', { Name: 'photos' })).rejects.toThrow('does not exist')
  })

  it.each(['', '{"buses": 1}', '{"buses": [{"Name": "default"'])(
    'that holds %j is named at the start',
    (text) => {
      const file = join(folder, `corrupt-${++files}.json`)
      writeFileSync(file, text)
      expect(() => start({ file })).toThrow(`The buses and rules in ${file} cannot be read; delete the file`)
    },
  )
})
