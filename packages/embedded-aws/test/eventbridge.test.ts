import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { accountId, entry, queue, refusedAs, region, ruleArn, start } from './lists.ts'

const folder = mkdtempSync(join(tmpdir(), 'eventbridge-'))
afterAll(() => rmSync(folder, { recursive: true }))
let files = 0
const newFile = () => join(folder, `${++files}`, 'events.json')

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
