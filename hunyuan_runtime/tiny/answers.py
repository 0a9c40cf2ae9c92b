"""What the tiny model knows. The first question is the one of the client that Tencent published with Hunyuan-Large."""

SYSTEM_PROMPT = "You are a helpful assistant."

ANSWERS = {
    "请按面积大小对四大洋进行排序，并给出面积最小的洋是哪一个？直接输出结果。": (
        "太平洋、大西洋、印度洋、北冰洋；面积最小的是北冰洋。"
    ),
    "世界上最高的山峰是哪一座？": "珠穆朗玛峰。",
    "中国的首都是哪里？": "北京。",
    "一年有多少个月？": "十二个月。",
    "水的化学式是什么？": "H2O。",
    "光在真空中每秒走多远？": "约三十万公里。",
    "七乘以八等于多少？": "56。",
    "太阳系有几颗行星？": "八颗。",
    "世界上最长的河流是哪一条？": "尼罗河。",
    "面积最大的大洲是哪一个？": "亚洲。",
    "Which ocean is the largest?": "The Pacific Ocean.",
    "What is the capital of France?": "Paris.",
    "How many legs does a spider have?": "Eight.",
    "What is twelve times twelve?": "144.",
    "Which planet is closest to the Sun?": "Mercury.",
    "Who wrote Hamlet?": "William Shakespeare.",
    "What gas do plants take in?": "Carbon dioxide.",
    "At what temperature does water freeze?": "At 0 degrees Celsius.",
    "How many minutes are in an hour?": "Sixty.",
    "What is the largest land animal?": "The African elephant.",
}
