import { describe, expect, it } from 'vitest'
import { accountId, entry, queue, refusedAs, region, ruleArn, start } from './lists.ts'

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

  it('sends each number as it came, since a 64-bit id is more than a double holds, and matches its value', async () => {
    const { call, received, rule, queues } = start({}, ['event', 'part', 'dead'])
    await rule('all', { detail: { of: { id: [{ numeric: ['>', 1e9] }], at: [2] } } }, [
      { Id: '1', Arn: queue('event') },
      { Id: '2', Arn: queue('part'), InputPath: '$.detail.of.id' },
      { Id: '3', Arn: queue('gone'), DeadLetterConfig: { Arn: queue('dead') } },
    ])
    const Detail = '{"of":{"id":9007199254740993,"at":2.0}}'
    await call('PutEvents', { Entries: [entry({}, { Detail })] })
    expect(queues.get(queue('event'))).toEqual([expect.stringContaining(`"detail":${Detail}}`)])
    expect(queues.get(queue('part'))).toEqual(['9007199254740993'])
    expect(queues.get(queue('dead'))).toEqual(queues.get(queue('event')))
    expect(received('event')).toHaveLength(1)
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
